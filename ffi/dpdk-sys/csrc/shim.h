/*
 * What bindgen cannot see: thread-local variables, static inline functions, and 64-bit macros.
 *
 * Every function is one call or one expression. Decisions live in the callers.
 */
#ifndef SLUICE_SHIM_H
#define SLUICE_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

/* Thread-local variables: a plain extern of these would silently read the wrong memory. */
int sluice_errno(void);
unsigned int sluice_lcore_id(void);

/* Packet buffers. Bulk calls go through the calling thread's mempool cache when it has one. */
struct rte_mbuf *sluice_mbuf_alloc(struct rte_mempool *pool);
int sluice_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void sluice_mbuf_free(struct rte_mbuf *head);
void sluice_mbuf_free_seg(struct rte_mbuf *segment);
void sluice_mbuf_free_bulk(struct rte_mbuf **heads, unsigned int count);

/* Mempools: objects in no thread's cache; rte_mempool_ops_get_count is not exported by the shared
 * library; and all objects. */
unsigned int sluice_mempool_shared_count(const struct rte_mempool *pool);
uint32_t sluice_mempool_size(const struct rte_mempool *pool);

/* Ports. */
int sluice_tx_descriptor_status(uint16_t port, uint16_t queue, uint16_t offset);

/* Rings. */
unsigned int sluice_ring_free_count(const struct rte_ring *ring);
int sluice_ring_dequeue(struct rte_ring *ring, void **object);

/* RTE_BIT64() macros, of which bindgen sees nothing. */
extern const uint64_t SLUICE_TX_OFFLOAD_IPV4_CKSUM;
extern const uint64_t SLUICE_TX_OFFLOAD_UDP_CKSUM;
extern const uint64_t SLUICE_TX_OFFLOAD_TCP_CKSUM;
extern const uint64_t SLUICE_TX_OFFLOAD_TCP_TSO;
extern const uint64_t SLUICE_TX_OFFLOAD_MULTI_SEGS;
extern const uint64_t SLUICE_TX_OFFLOAD_MBUF_FAST_FREE;
extern const uint64_t SLUICE_RX_OFFLOAD_IPV4_CKSUM;
extern const uint64_t SLUICE_RX_OFFLOAD_UDP_CKSUM;
extern const uint64_t SLUICE_RX_OFFLOAD_TCP_CKSUM;
extern const uint64_t SLUICE_RX_OFFLOAD_SCATTER;
extern const uint64_t SLUICE_RX_OFFLOAD_RSS_HASH;
extern const uint64_t SLUICE_RSS_IPV4;
extern const uint64_t SLUICE_RSS_NONFRAG_IPV4_TCP;
extern const uint64_t SLUICE_RSS_NONFRAG_IPV4_UDP;
extern const uint64_t SLUICE_RSS_IPV6;
extern const uint64_t SLUICE_RSS_NONFRAG_IPV6_TCP;
extern const uint64_t SLUICE_RSS_NONFRAG_IPV6_UDP;

#endif
