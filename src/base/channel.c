#include "base/thread.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>

struct tmb_channel {
    pthread_mutex_t lock;
    pthread_cond_t readable, writable;
    size_t capacity, count, first;
    bool closed;
    void **items;
};

tmb_status tmb_channel_create(size_t capacity, tmb_channel **out, tmb_error *error) {
    *out = NULL;
    if (capacity == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "a channel needs room for at least one item");
    }
    tmb_channel *channel = tmb_calloc(1, sizeof *channel);
    void **items = tmb_calloc(capacity, sizeof *items);
    if (channel == NULL || items == NULL) {
        free(channel);
        free(items);
        return tmb_fail_memory(error, "a channel", 0);
    }
    channel->capacity = capacity;
    channel->items = items;
    (void)pthread_mutex_init(&channel->lock, NULL);
    tmb_condition_init(&channel->readable);
    (void)pthread_cond_init(&channel->writable, NULL);
    *out = channel;
    return TMB_OK;
}

static bool send_item(tmb_channel *channel, void *item, bool wait) {
    (void)pthread_mutex_lock(&channel->lock);
    while (wait && !channel->closed && channel->count == channel->capacity) {
        (void)pthread_cond_wait(&channel->writable, &channel->lock);
    }
    bool sent = !channel->closed && channel->count < channel->capacity;
    if (sent) {
        channel->items[(channel->first + channel->count) % channel->capacity] = item;
        channel->count++;
        (void)pthread_cond_signal(&channel->readable);
    }
    (void)pthread_mutex_unlock(&channel->lock);
    return sent;
}

bool tmb_channel_send(tmb_channel *channel, void *item) { return send_item(channel, item, true); }

bool tmb_channel_try_send(tmb_channel *channel, void *item) { return send_item(channel, item, false); }

/* `deadline` NULL waits for ever. */
static bool receive_item(tmb_channel *channel, void **item, const struct timespec *deadline) {
    (void)pthread_mutex_lock(&channel->lock);
    while (channel->count == 0 && !channel->closed) {
        if (deadline == NULL) {
            (void)pthread_cond_wait(&channel->readable, &channel->lock);
        } else if (pthread_cond_timedwait(&channel->readable, &channel->lock, deadline) == ETIMEDOUT) {
            break;
        }
    }
    bool received = channel->count != 0;
    if (received) {
        *item = channel->items[channel->first];
        channel->first = (channel->first + 1) % channel->capacity;
        channel->count--;
        (void)pthread_cond_signal(&channel->writable);
    }
    (void)pthread_mutex_unlock(&channel->lock);
    return received;
}

bool tmb_channel_receive(tmb_channel *channel, void **item) { return receive_item(channel, item, NULL); }

bool tmb_channel_receive_within(tmb_channel *channel, void **item, double seconds) {
    const struct timespec deadline = tmb_deadline(seconds);
    return receive_item(channel, item, &deadline);
}

void tmb_channel_close(tmb_channel *channel) {
    (void)pthread_mutex_lock(&channel->lock);
    channel->closed = true;
    (void)pthread_cond_broadcast(&channel->readable);
    (void)pthread_cond_broadcast(&channel->writable);
    (void)pthread_mutex_unlock(&channel->lock);
}

void tmb_channel_destroy(tmb_channel **channel_address) {
    tmb_channel *channel = *channel_address;
    if (channel == NULL) {
        return;
    }
    *channel_address = NULL;
    (void)pthread_cond_destroy(&channel->writable);
    (void)pthread_cond_destroy(&channel->readable);
    (void)pthread_mutex_destroy(&channel->lock);
    free(channel->items);
    free(channel);
}
