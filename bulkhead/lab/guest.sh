#!/bin/sh
# Turns a fresh Debian root file system into a lab machine: guest.sh ROOT PUBLIC_KEY_FILE (run by mmdebstrap).
set -eu
root=$1
public_key=$2

unit() { # unit NAME < text
    cat >"$root/etc/systemd/system/$1"
}

# --- who may log in --------------------------------------------------------------------------------------------------
chroot "$root" useradd --create-home --shell /bin/bash vagrant
install -d -m 0700 "$root/home/vagrant/.ssh"
install -m 0600 "$public_key" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
chmod 0440 "$root/etc/sudoers.d/vagrant"

cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
PasswordAuthentication no
UseDNS no
EOF
# Every machine makes its own host keys at its first boot.
rm -f "$root"/etc/ssh/ssh_host_*
unit ssh-host-keys.service <<'EOF'
[Unit]
Description=Make this machine's ssh host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ecdsa_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N "" -f /etc/ssh/ssh_host_ecdsa_key

[Install]
WantedBy=multi-user.target
EOF

# --- network: one card, an address from the lab's network, no name server --------------------------------------------
cat >"$root/etc/systemd/network/lab.network" <<'EOF'
[Match]
Name=eth0

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no

[DHCPv4]
ClientIdentifier=mac
UseDNS=no
EOF
printf '127.0.0.1 localhost\n127.0.1.1 gvisor legacy\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
: >"$root/etc/hostname"
: >"$root/etc/machine-id"
echo '/dev/vda / ext4 rw,noatime,noinit_itable 0 0' >"$root/etc/fstab"

# --- what runs at boot: what the lab needs, and nothing that waits or fetches on its own -----------------------------
chroot "$root" systemctl --quiet enable systemd-networkd ssh ssh-host-keys docker containerd
for name in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-networkd-wait-online.service systemd-pstore.service getty@tty1.service \
    systemd-timesyncd.service ssh.socket sshd-keygen.service unattended-upgrades.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$name"
done
install -d "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/lab.conf"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
