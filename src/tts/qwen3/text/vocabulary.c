#include "tts/qwen3/text/vocabulary.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MIXER UINT64_C(0x9e3779b97f4a7c15)

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_string(uint64_t seed, const char *text, size_t length) {
    uint64_t hash = seed ^ length;
    while (length >= 8) {
        uint64_t block;
        memcpy(&block, text, 8);
        hash = mix(hash ^ block, MIXER);
        text += 8;
        length -= 8;
    }
    uint64_t block = 0;
    memcpy(&block, text, length);
    return (uint32_t)(mix(hash ^ block, seed | 1) >> 32);
}

static size_t hash_pair(uint64_t seed, int32_t left, int32_t right) {
    return (size_t)mix(seed ^ ((uint64_t)(uint32_t)left << 32 | (uint32_t)right), MIXER);
}

void tmb_vocabulary_init(tmb_vocabulary *vocabulary) {
    memset(vocabulary, 0, sizeof *vocabulary);
    if (getrandom(&vocabulary->seed, sizeof vocabulary->seed, GRND_NONBLOCK) != sizeof vocabulary->seed) {
        vocabulary->seed = (uint64_t)(uintptr_t)vocabulary * MIXER;
    }
    vocabulary->highest_id = -1;
}

void tmb_vocabulary_free(tmb_vocabulary *vocabulary) {
    free(vocabulary->slots);
    free(vocabulary->strings);
    free(vocabulary->merges);
    memset(vocabulary, 0, sizeof *vocabulary);
}

/* The slot that has this string, or the free one where it belongs. */
static tmb_vocabulary_slot *find_slot(const tmb_vocabulary *vocabulary, uint32_t hash, const char *text,
                                      size_t length) {
    size_t mask = vocabulary->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        tmb_vocabulary_slot *slot = &vocabulary->slots[i];
        if (slot->length == 0 || (slot->hash == hash && slot->length == length &&
                                  memcmp(vocabulary->strings + slot->offset, text, length) == 0)) {
            return slot;
        }
    }
}

int32_t tmb_vocabulary_find(const tmb_vocabulary *vocabulary, const char *text, size_t length) {
    if (vocabulary->slot_count == 0 || length == 0) {
        return -1;
    }
    const tmb_vocabulary_slot *slot = find_slot(vocabulary, hash_string(vocabulary->seed, text, length), text, length);
    return slot->length == 0 ? -1 : slot->id;
}

/* At most five of eight slots are in use, so that a search ends soon. */
static bool grow_slots(tmb_vocabulary *vocabulary) {
    if (vocabulary->count < vocabulary->slot_count / 8 * 5) {
        return true;
    }
    size_t old_count = vocabulary->slot_count;
    tmb_vocabulary_slot *old = vocabulary->slots;
    size_t slot_count = old_count == 0 ? 4096 : old_count * 2;
    tmb_vocabulary_slot *slots = tmb_calloc(slot_count, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    vocabulary->slots = slots;
    vocabulary->slot_count = slot_count;
    for (size_t i = 0; i < old_count; i++) {
        size_t k = old[i].hash & (slot_count - 1);
        if (old[i].length != 0) {
            while (slots[k].length != 0) {
                k = (k + 1) & (slot_count - 1);
            }
            slots[k] = old[i];
        }
    }
    free(old);
    return true;
}

static bool grow_strings(tmb_vocabulary *vocabulary, size_t more) {
    size_t needed = vocabulary->string_bytes + more;
    if (needed <= vocabulary->string_capacity) {
        return true;
    }
    size_t capacity = needed < (1u << 20) ? (2u << 20) : 2 * needed;
    char *strings = tmb_realloc(vocabulary->strings, capacity, 1);
    if (strings == NULL) {
        return false;
    }
    vocabulary->strings = strings;
    vocabulary->string_capacity = capacity;
    return true;
}

tmb_status tmb_vocabulary_add(tmb_vocabulary *vocabulary, const char *text, size_t length, int64_t id,
                              tmb_error *error) {
    if (length == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "a token is empty");
    }
    if (id < 0 || id > TMB_TOKEN_ID_MAX) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "token \"%.*s\" has the id %lld, outside 0 to %d",
                        (int)(length < 40 ? length : 40), text, (long long)id, TMB_TOKEN_ID_MAX);
    }
    if (length > UINT32_MAX / 2 - vocabulary->string_bytes) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the tokens have too many bytes in all");
    }
    if (!grow_slots(vocabulary) || !grow_strings(vocabulary, length)) {
        return tmb_fail_memory(error, "a vocabulary", 0);
    }
    uint32_t hash = hash_string(vocabulary->seed, text, length);
    tmb_vocabulary_slot *slot = find_slot(vocabulary, hash, text, length);
    if (slot->length != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "token \"%.*s\" is there twice", (int)(length < 40 ? length : 40),
                        text);
    }
    memcpy(vocabulary->strings + vocabulary->string_bytes, text, length);
    slot->hash = hash;
    slot->offset = (uint32_t)vocabulary->string_bytes;
    slot->length = (uint32_t)length;
    slot->id = (int32_t)id;
    vocabulary->string_bytes += length;
    vocabulary->count++;
    if (slot->id > vocabulary->highest_id) {
        vocabulary->highest_id = slot->id;
    }
    return TMB_OK;
}

static tmb_merge_slot *find_merge_slot(const tmb_vocabulary *vocabulary, int32_t left, int32_t right) {
    size_t mask = vocabulary->merge_slot_count - 1;
    for (size_t i = hash_pair(vocabulary->seed, left, right) & mask;; i = (i + 1) & mask) {
        tmb_merge_slot *slot = &vocabulary->merges[i];
        if (slot->left < 0 || (slot->left == left && slot->right == right)) {
            return slot;
        }
    }
}

const tmb_merge_slot *tmb_vocabulary_merge(const tmb_vocabulary *vocabulary, int32_t left, int32_t right) {
    if (vocabulary->merge_slot_count == 0) {
        return NULL;
    }
    const tmb_merge_slot *slot = find_merge_slot(vocabulary, left, right);
    return slot->left < 0 ? NULL : slot;
}

static bool grow_merges(tmb_vocabulary *vocabulary) {
    if (vocabulary->merge_count < vocabulary->merge_slot_count / 8 * 5) {
        return true;
    }
    size_t old_count = vocabulary->merge_slot_count;
    tmb_merge_slot *old = vocabulary->merges;
    size_t slot_count = old_count == 0 ? 4096 : old_count * 2;
    tmb_merge_slot *slots = tmb_calloc(slot_count, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < slot_count; i++) {
        slots[i].left = -1;
    }
    vocabulary->merges = slots;
    vocabulary->merge_slot_count = slot_count;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].left >= 0) {
            *find_merge_slot(vocabulary, old[i].left, old[i].right) = old[i];
        }
    }
    free(old);
    return true;
}

/* The id of left and right joined, -1 if there is none; false when out of memory. */
static bool find_joined(const tmb_vocabulary *vocabulary, const char *left, size_t left_length, const char *right,
                        size_t right_length, int32_t *id) {
    char small[256];
    size_t length = left_length + right_length;
    char *joined = length <= sizeof small ? small : malloc(length);
    if (joined == NULL) {
        return false;
    }
    memcpy(joined, left, left_length);
    memcpy(joined + left_length, right, right_length);
    *id = tmb_vocabulary_find(vocabulary, joined, length);
    if (joined != small) {
        free(joined);
    }
    return true;
}

tmb_status tmb_vocabulary_add_merge(tmb_vocabulary *vocabulary, const char *left, size_t left_length, const char *right,
                                    size_t right_length, tmb_error *error) {
    int32_t left_id = tmb_vocabulary_find(vocabulary, left, left_length);
    int32_t right_id = tmb_vocabulary_find(vocabulary, right, right_length);
    int32_t id = -1;
    if (!find_joined(vocabulary, left, left_length, right, right_length, &id) || !grow_merges(vocabulary)) {
        return tmb_fail_memory(error, "a vocabulary", 0);
    }
    if (left_id < 0 || right_id < 0 || id < 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "merge of \"%.*s\" and \"%.*s\": %s no token",
                        (int)(left_length < 40 ? left_length : 40), left, (int)(right_length < 40 ? right_length : 40),
                        right,
                        left_id < 0    ? "the first is"
                        : right_id < 0 ? "the second is"
                                       : "joined they are");
    }
    tmb_merge_slot *slot = find_merge_slot(vocabulary, left_id, right_id);
    if (slot->left < 0) {
        *slot = (tmb_merge_slot){left_id, right_id, id, (uint32_t)vocabulary->merge_count};
        vocabulary->merge_count++;
    }
    return TMB_OK;
}

tmb_status tmb_vocabulary_finish(tmb_vocabulary *vocabulary, tmb_error *error) {
    /* GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes follow from U+0100 on. */
    uint32_t other = 0x100;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        char text[4];
        size_t length = tmb_utf8_encode(printable ? byte : other++, text);
        vocabulary->bytes[byte] = tmb_vocabulary_find(vocabulary, text, length);
        if (vocabulary->bytes[byte] < 0) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "the vocabulary has no token for the byte 0x%02x (\"%.*s\")",
                            (unsigned)byte, (int)length, text);
        }
    }
    return TMB_OK;
}
