//! Linux TAP as a Device without DPDK: multi-queue, virtio-net header, epoll.
