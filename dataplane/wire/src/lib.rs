//! Wire formats: ethernet, 802.1Q, ARP, IPv4, ICMP, UDP, TCP as view, repr and printer; checksums.
