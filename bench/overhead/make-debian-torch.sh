#!/usr/bin/env bash
# Unpacks Debian's Python bindings of the system's libtorch into a folder, without installing them, and writes a `python` that finds them:
# the bare loop of bench/overhead on the very libtorch that Prospect uses.
#   bench/overhead/make-debian-torch.sh ~/.cache/prospect-bench/debian-torch
set -euo pipefail
folder=${1:?usage: make-debian-torch.sh <folder>}
mkdir -p "$folder"
cd "$folder"
apt-get download -qq python3-torch python3-typing-extensions
for package in *.deb; do dpkg -x "$package" .; done
rm ./*.deb
packages=$PWD/usr/lib/python3/dist-packages
for library in "$packages"/torch/lib/*; do # links of the package, relative to where it would be installed
  ln -sf "/usr/lib/$(uname -m)-linux-gnu/$(basename "$library")" "$library"
done
printf '#!/bin/sh\nPYTHONPATH=%s exec /usr/bin/python3 "$@"\n' "$packages" > python
chmod +x python
./python -W ignore -c 'import torch; print("torch", torch.__version__)'
echo "--bare-python $PWD/python"
