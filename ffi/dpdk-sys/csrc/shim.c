#include "shim.h"

#include <rte_errno.h>
#include <rte_lcore.h>

int sluice_errno(void) { return rte_errno; }

unsigned int sluice_lcore_id(void) { return rte_lcore_id(); }

struct rte_mbuf *sluice_mbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

int sluice_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count) {
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void sluice_mbuf_free(struct rte_mbuf *head) { rte_pktmbuf_free(head); }

void sluice_mbuf_free_seg(struct rte_mbuf *segment) { rte_pktmbuf_free_seg(segment); }

void sluice_mbuf_free_bulk(struct rte_mbuf **heads, unsigned int count) {
	rte_pktmbuf_free_bulk(heads, count);
}

unsigned int sluice_mempool_shared_count(const struct rte_mempool *pool) {
	return rte_mempool_get_ops(pool->ops_index)->get_count(pool);
}

uint32_t sluice_mempool_size(const struct rte_mempool *pool) { return pool->size; }

int sluice_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset) {
	return rte_eth_tx_descriptor_status(port, queue, offset);
}

unsigned int sluice_ring_free_count(const struct rte_ring *ring) {
	return rte_ring_free_count(ring);
}

int sluice_ring_dequeue(struct rte_ring *ring, void **object) {
	return rte_ring_dequeue(ring, object);
}

const uint64_t SLUICE_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
const uint64_t SLUICE_TX_OFFLOAD_UDP_CKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
const uint64_t SLUICE_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
const uint64_t SLUICE_TX_OFFLOAD_TCP_TSO = RTE_ETH_TX_OFFLOAD_TCP_TSO;
const uint64_t SLUICE_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
const uint64_t SLUICE_TX_OFFLOAD_MBUF_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
const uint64_t SLUICE_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
const uint64_t SLUICE_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
const uint64_t SLUICE_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
const uint64_t SLUICE_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
const uint64_t SLUICE_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
const uint64_t SLUICE_RSS_IPV4 = RTE_ETH_RSS_IPV4;
const uint64_t SLUICE_RSS_NONFRAG_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
const uint64_t SLUICE_RSS_NONFRAG_IPV4_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
const uint64_t SLUICE_RSS_IPV6 = RTE_ETH_RSS_IPV6;
const uint64_t SLUICE_RSS_NONFRAG_IPV6_TCP = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
const uint64_t SLUICE_RSS_NONFRAG_IPV6_UDP = RTE_ETH_RSS_NONFRAG_IPV6_UDP;
