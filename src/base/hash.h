/* A fast 64-bit checksum: finds damage and tells contents apart. It does not withstand an attacker. */
#ifndef TMB_BASE_HASH_H
#define TMB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Takes one word into a running value. */
static inline uint64_t tmb_hash_mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* The checksum of `bytes` bytes; another `seed` gives an independent one. The same on every machine of the same byte
 * order. */
uint64_t tmb_hash_bytes(const void *data, size_t bytes, uint64_t seed);

/* FNV-1a of a name, for places in a table and names on disk: the same on every machine, and for ever. */
static inline uint64_t tmb_hash_name(const char *name, size_t bytes) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ (unsigned char)name[i]) * 1099511628211u;
    }
    return hash;
}

#endif
