#include "base/hash.h"

#include <string.h>

/* Four lanes, so that hashing runs as fast as reading. */
uint64_t tmb_hash_bytes(const void *data, size_t bytes, uint64_t seed) {
    const uint8_t *p = data;
    uint64_t lanes[4] = {seed, seed + 1, seed + 2, seed + 3};
    size_t left = bytes;
    for (; left >= 32; left -= 32, p += 32) {
        uint64_t words[4];
        memcpy(words, p, sizeof words);
        for (int i = 0; i < 4; i++) {
            lanes[i] = tmb_hash_mix(lanes[i], words[i]);
        }
    }
    uint64_t tail[4] = {0};
    if (left > 0) {
        memcpy(tail, p, left);
    }
    for (int i = 0; i < 4; i++) {
        lanes[i] = tmb_hash_mix(lanes[i], tail[i]);
    }
    return tmb_hash_mix(tmb_hash_mix(tmb_hash_mix(tmb_hash_mix(bytes, lanes[0]), lanes[1]), lanes[2]), lanes[3]);
}
