# Make an image in $1/image.tar from programs that the host has: busybox, or else its own with their libraries.
# No registry is asked, and nothing is left behind but that directory.
set -eu
cd "$1"
mkdir -p root/bin
programs="sh dmesg uname sleep"
if busybox=$(command -v busybox); then
    cp "$busybox" root/bin/busybox
    for program in $programs; do ln -s busybox "root/bin/$program"; done
else
    for program in $programs; do cp -L "$(command -v "$program")" root/bin/; done
fi
for library in $(ldd root/bin/* 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' | sort -u); do
    mkdir -p "root$(dirname "$library")"
    cp -L "$library" "root$library"
done
tar -C root -cf layer.tar .
case $(uname -m) in aarch64) architecture=arm64 ;; *) architecture=amd64 ;; esac
layer=$(sha256sum <layer.tar | cut -d' ' -f1)
cat >config.json <<END
{"architecture": "$architecture", "os": "linux", "config": {"Env": ["PATH=/bin"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
END
cat >manifest.json <<END
[{"Config": "config.json", "RepoTags": ["$2"], "Layers": ["layer.tar"]}]
END
tar -cf image.tar manifest.json config.json layer.tar
