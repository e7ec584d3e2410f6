# A host of namespaces: a real sshd, the real kernel's settings below net, and a controller at the other end of two wires.
# $1 is the directory of the test, which holds the commands. Called in namespaces of its own: net, mount and pid.
set -e
cd "$1"
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount --bind ssh /etc/ssh
mount --bind bin /usr/local/sbin
mount --bind sysctl.d /etc/sysctl.d
mount --bind units /etc/systemd/system
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
mkdir -p /var/lib/bulkhead
mount -t tmpfs tmpfs /var/lib/bulkhead
# Only what belongs to the network namespace can be changed here.
for folder in abi debug dev fs kernel user vm; do
    [ ! -d /proc/sys/$folder ] || mount -t tmpfs tmpfs /proc/sys/$folder
done

ip link set lo up
ip netns add controller
for wire in 1 2; do
    ip link add host$wire type veth peer name far$wire netns controller
    ip link set host$wire up
    ip -n controller link set far$wire up
done
ip address add 192.0.2.1/24 dev host1
ip address add 198.51.100.1/24 dev host2
ip -n controller address add 192.0.2.2/24 dev far1
ip -n controller address add 198.51.100.2/24 dev far2
echo 0 | tee /proc/sys/net/ipv4/conf/*/rp_filter >/dev/null
ip netns exec controller sh -c 'echo 0 | tee /proc/sys/net/ipv4/conf/*/rp_filter >/dev/null'

/usr/local/sbin/sshd -o PidFile=/run/sshd.pid
sh -e commands
