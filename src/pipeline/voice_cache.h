/* Voices that were prepared, and those being prepared now. Under its owner's lock. */
#ifndef TMB_PIPELINE_VOICE_CACHE_H
#define TMB_PIPELINE_VOICE_CACHE_H

#include "pipeline/item.h"

/* Either has a voice, or a build that items wait for. */
typedef struct tmb_voice_entry {
    struct tmb_voice_entry *previous, *next; /* least recently used first */
    tmb_voice_key key;
    tmb_voice *voice;
    bool judged; /* `info` is its reference's */
    tmb_reference_info info;
    uint64_t reserved; /* bytes of the budget */
    tmb_item *waiters; /* linked by next_waiter, in the order that they came */
    size_t waiter_count;
    tmb_build *build;      /* while it is under way */
    atomic_bool abandoned; /* nobody waits for the build any more */
    bool listed;           /* found by its key */
    struct tmb_scheduler *scheduler;
    struct tmb_lane *lane; /* whose engine builds it */
    tmb_work work;         /* of the build */
} tmb_voice_entry;

typedef struct tmb_voice_cache {
    tmb_voice_entry *first, *last;
    size_t voices;  /* entries with a voice */
    size_t builds;  /* entries with a build */
    size_t maximum; /* voices that are kept */
    uint64_t hits, misses;
    tmb_budget *budget;
} tmb_voice_cache;

/* The entry for `key`, now the most recently used; NULL if there is none. */
tmb_voice_entry *tmb_voice_cache_find(tmb_voice_cache *cache, const tmb_voice_key *key);

/* A new entry for a build that begins; it owns the build. NULL when out of memory. */
tmb_voice_entry *tmb_voice_cache_begin(tmb_voice_cache *cache, tmb_build *build);

/* Adds or removes an item that waits for an entry's build. */
void tmb_voice_cache_join(tmb_voice_entry *entry, tmb_item *item);
void tmb_voice_cache_part(tmb_voice_entry *entry, tmb_item *item);

/* Ends the build. With a voice (retained here) the entry is kept, `reserved` bytes of the budget pass
 * to it, and the least recently used are dropped beyond the maximum; without one it is dropped. */
void tmb_voice_cache_end(tmb_voice_cache *cache, tmb_voice_entry *entry, tmb_voice *voice, uint64_t reserved);

/* Nobody will find this entry any more (its build goes on, or is abandoned). */
void tmb_voice_cache_unlist(tmb_voice_cache *cache, tmb_voice_entry *entry);

/* Drops every voice. */
void tmb_voice_cache_clear(tmb_voice_cache *cache);

#endif
