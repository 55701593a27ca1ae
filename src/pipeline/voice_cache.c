#include "pipeline/voice_cache.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static void append(tmb_voice_cache *cache, tmb_voice_entry *entry) {
    entry->next = NULL;
    entry->previous = cache->last;
    if (cache->last != NULL) {
        cache->last->next = entry;
    } else {
        cache->first = entry;
    }
    cache->last = entry;
    entry->listed = true;
}

void tmb_voice_cache_unlist(tmb_voice_cache *cache, tmb_voice_entry *entry) {
    if (!entry->listed) {
        return;
    }
    if (entry->previous != NULL) {
        entry->previous->next = entry->next;
    } else {
        cache->first = entry->next;
    }
    if (entry->next != NULL) {
        entry->next->previous = entry->previous;
    } else {
        cache->last = entry->previous;
    }
    entry->previous = entry->next = NULL;
    entry->listed = false;
}

/* Frees an entry that has no build and that nobody waits for. */
static void drop(tmb_voice_cache *cache, tmb_voice_entry *entry) {
    tmb_voice_cache_unlist(cache, entry);
    if (entry->voice != NULL) {
        cache->voices--;
        tmb_voice_release(&entry->voice);
    }
    tmb_budget_release(cache->budget, entry->reserved);
    free(entry);
}

tmb_voice_entry *tmb_voice_cache_find(tmb_voice_cache *cache, const tmb_voice_key *key) {
    for (tmb_voice_entry *entry = cache->last; entry != NULL; entry = entry->previous) {
        if (memcmp(&entry->key, key, sizeof *key) == 0) {
            tmb_voice_cache_unlist(cache, entry);
            append(cache, entry);
            cache->hits++;
            return entry;
        }
    }
    cache->misses++;
    return NULL;
}

tmb_voice_entry *tmb_voice_cache_begin(tmb_voice_cache *cache, tmb_build *build) {
    tmb_voice_entry *entry = tmb_calloc(1, sizeof *entry);
    if (entry == NULL) {
        return NULL;
    }
    entry->key = build->key;
    entry->build = build;
    cache->builds++;
    append(cache, entry);
    return entry;
}

void tmb_voice_cache_join(tmb_voice_entry *entry, tmb_item *item) {
    tmb_item **link = &entry->waiters;
    while (*link != NULL) {
        link = &(*link)->preparation.next_waiter;
    }
    *link = item;
    item->preparation.next_waiter = NULL;
    item->preparation.entry = entry;
    entry->waiter_count++;
}

void tmb_voice_cache_part(tmb_voice_entry *entry, tmb_item *item) {
    tmb_item **link = &entry->waiters;
    while (*link != item) {
        link = &(*link)->preparation.next_waiter;
    }
    *link = item->preparation.next_waiter;
    item->preparation.next_waiter = NULL;
    item->preparation.entry = NULL;
    entry->waiter_count--;
}

/* The least recently used voice, or NULL. */
static tmb_voice_entry *oldest_voice(tmb_voice_cache *cache) {
    tmb_voice_entry *entry = cache->first;
    while (entry != NULL && entry->voice == NULL) {
        entry = entry->next;
    }
    return entry;
}

void tmb_voice_cache_end(tmb_voice_cache *cache, tmb_voice_entry *entry, tmb_voice *voice, uint64_t reserved) {
    entry->judged = entry->build->judged;
    entry->info = entry->build->info;
    tmb_build_destroy(&entry->build, cache->budget);
    cache->builds--;
    entry->reserved = reserved;
    if (voice == NULL || !entry->listed || cache->maximum == 0) {
        drop(cache, entry);
        return;
    }
    entry->voice = tmb_voice_retain(voice);
    cache->voices++;
    while (cache->voices > cache->maximum) {
        drop(cache, oldest_voice(cache));
    }
}

void tmb_voice_cache_clear(tmb_voice_cache *cache) {
    tmb_voice_entry *entry = oldest_voice(cache);
    while (entry != NULL) {
        drop(cache, entry);
        entry = oldest_voice(cache);
    }
}
