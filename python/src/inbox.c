#include "inbox.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tmb_py_inbox {
    atomic_int references;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    tmb_py_event *head, **tail;
    int wake[2]; /* a pipe with one byte in it while events wait; -1: not made */
    bool awake;
};

tmb_py_inbox *tmb_py_inbox_create(void) {
    tmb_py_inbox *inbox = calloc(1, sizeof *inbox);
    if (inbox != NULL) {
        atomic_init(&inbox->references, 1);
        inbox->tail = &inbox->head;
        inbox->wake[0] = inbox->wake[1] = -1;
        (void)pthread_mutex_init(&inbox->lock, NULL);
        tmb_py_condition_init(&inbox->arrived);
    }
    return inbox;
}

void tmb_py_inbox_ref(tmb_py_inbox *inbox) { atomic_fetch_add(&inbox->references, 1); }

void tmb_py_inbox_unref(tmb_py_inbox *inbox) {
    if (atomic_fetch_sub(&inbox->references, 1) != 1) {
        return;
    }
    while (inbox->head != NULL) {
        tmb_py_event *event = inbox->head;
        inbox->head = event->next;
        tmb_py_event_free(event);
    }
    tmb_py_inbox_close_fd(inbox);
    (void)pthread_cond_destroy(&inbox->arrived);
    (void)pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

void tmb_py_inbox_close_fd(tmb_py_inbox *inbox) {
    (void)pthread_mutex_lock(&inbox->lock);
    for (int i = 0; i < 2; i++) {
        if (inbox->wake[i] >= 0) {
            (void)close(inbox->wake[i]);
        }
        inbox->wake[i] = -1;
    }
    inbox->awake = false;
    (void)pthread_mutex_unlock(&inbox->lock);
}

/* Keeps the pipe as the queue is; locked. */
static void show(tmb_py_inbox *inbox) {
    bool any = inbox->head != NULL;
    char byte = 0;
    if (inbox->wake[0] >= 0 && any != inbox->awake) {
        ssize_t moved = any ? write(inbox->wake[1], &byte, 1) : read(inbox->wake[0], &byte, 1);
        inbox->awake = moved == 1 ? any : inbox->awake;
    }
}

int tmb_py_inbox_fd(tmb_py_inbox *inbox) {
    (void)pthread_mutex_lock(&inbox->lock);
    if (inbox->wake[0] < 0 && pipe(inbox->wake) == 0) {
        for (int i = 0; i < 2; i++) {
            (void)fcntl(inbox->wake[i], F_SETFD, FD_CLOEXEC);
            (void)fcntl(inbox->wake[i], F_SETFL, O_NONBLOCK);
        }
    }
    show(inbox);
    int descriptor = inbox->wake[0];
    (void)pthread_mutex_unlock(&inbox->lock);
    return descriptor;
}

void tmb_py_inbox_post(tmb_py_inbox *inbox, tmb_py_event *event) {
    (void)pthread_mutex_lock(&inbox->lock);
    tmb_py_event *same = NULL;
    if (event->kind == TMB_PY_PROGRESS) {
        for (tmb_py_event *e = inbox->head; e != NULL; e = e->next) {
            same = e->token == event->token ? e : same;
        }
    }
    if (same != NULL && same->kind == TMB_PY_PROGRESS && same->stage == event->stage) {
        same->fraction = event->fraction;
        tmb_py_event_free(event);
    } else {
        event->next = NULL;
        *inbox->tail = event;
        inbox->tail = &event->next;
        show(inbox);
        (void)pthread_cond_broadcast(&inbox->arrived);
    }
    (void)pthread_mutex_unlock(&inbox->lock);
}

tmb_py_event *tmb_py_inbox_take(tmb_py_inbox *inbox, double seconds) {
    const struct timespec end = tmb_py_deadline(seconds);
    (void)pthread_mutex_lock(&inbox->lock);
    while (seconds > 0 && inbox->head == NULL && pthread_cond_timedwait(&inbox->arrived, &inbox->lock, &end) == 0) {
    }
    tmb_py_event *event = inbox->head;
    if (event != NULL) {
        inbox->head = event->next;
        if (inbox->head == NULL) {
            inbox->tail = &inbox->head;
        }
        show(inbox);
    }
    (void)pthread_mutex_unlock(&inbox->lock);
    return event;
}

static void free_outcome(tmb_py_outcome *outcome) {
    for (size_t i = 0; outcome->segments != NULL && i < outcome->result.segment_count; i++) {
        free((char *)outcome->segments[i].text);
    }
    free(outcome->segments);
    free(outcome->custom_id);
    free(outcome->model);
    free(outcome->finish_reason);
    free(outcome->samples);
    free(outcome->reference_clean);
    free(outcome->codes);
    free(outcome->reference);
}

void tmb_py_event_free(tmb_py_event *event) {
    free_outcome(&event->outcome);
    free(event->samples);
    free(event);
}

/* A copy of `bytes` bytes, *bad on failure; NULL of NULL. */
static void *copy_of(const void *data, size_t bytes, bool *bad) {
    if (data == NULL) {
        return NULL;
    }
    void *copy = malloc(bytes + 1);
    if (copy == NULL) {
        *bad = true;
    } else {
        memcpy(copy, data, bytes);
    }
    return copy;
}

static char *text_of(const char *text, bool *bad) {
    char *copy = text != NULL ? strdup(text) : NULL;
    *bad = *bad || (text != NULL && copy == NULL);
    return copy;
}

static void copy_outcome(tmb_py_outcome *out, const tmb_clone_result *result) {
    bool bad = false;
    out->result = *result;
    out->custom_id = text_of(result->custom_id, &bad);
    out->model = text_of(result->model, &bad);
    out->finish_reason = text_of(result->finish_reason, &bad);
    out->samples = copy_of(result->samples, result->sample_count * sizeof(float), &bad);
    out->reference_clean = copy_of(result->reference_clean, result->reference_clean_count * sizeof(float), &bad);
    out->codes = copy_of(result->codes, result->code_frames * result->code_books * sizeof(int16_t), &bad);
    out->reference = copy_of(result->reference, sizeof *result->reference, &bad);
    out->segments = result->segment_count > 0 ? calloc(result->segment_count, sizeof *out->segments) : NULL;
    bad = bad || (result->segment_count > 0 && out->segments == NULL);
    for (size_t i = 0; out->segments != NULL && i < result->segment_count; i++) {
        out->segments[i] = result->segments[i];
        out->segments[i].text = text_of(result->segments[i].text, &bad);
    }
    out->result.custom_id = out->custom_id;
    out->result.model = out->model;
    out->result.finish_reason = out->finish_reason;
    out->result.samples = out->samples;
    out->result.reference_clean = out->reference_clean;
    out->result.codes = out->codes;
    out->result.reference = out->reference;
    out->result.segments = out->segments;
    if (bad) {
        out->result.error = (tmb_error){.status = TMB_ERROR_MEMORY, .message = "no memory for the result"};
    }
}

tmb_py_flight *tmb_py_flight_create(tmb_py_inbox *inbox, uint64_t token) {
    tmb_py_flight *flight = calloc(1, sizeof *flight);
    tmb_py_event *last = calloc(1, sizeof *last);
    if (flight == NULL || last == NULL) {
        free(flight);
        free(last);
        return NULL;
    }
    atomic_init(&flight->references, 2);
    flight->token = token;
    flight->inbox = inbox;
    flight->last = last;
    tmb_py_inbox_ref(inbox);
    return flight;
}

void tmb_py_flight_unref(tmb_py_flight *flight) {
    if (atomic_fetch_sub(&flight->references, 1) == 1) {
        tmb_py_inbox_unref(flight->inbox);
        free(flight->last);
        free(flight->borrowed);
        free(flight);
    }
}

static void on_progress(void *user, uint64_t item, tmb_stage stage, double fraction) {
    tmb_py_flight *flight = user;
    (void)item;
    tmb_py_event *event = atomic_load(&flight->dropped) ? NULL : calloc(1, sizeof *event);
    if (event != NULL) {
        event->token = flight->token;
        event->kind = TMB_PY_PROGRESS;
        event->stage = stage;
        event->fraction = fraction;
        tmb_py_inbox_post(flight->inbox, event);
    }
}

static bool on_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    tmb_py_flight *flight = user;
    (void)item;
    if (atomic_load(&flight->dropped)) {
        return false;
    }
    tmb_py_event *event = calloc(1, sizeof *event);
    bool bad = event == NULL;
    float *copy = copy_of(samples, count * sizeof(float), &bad);
    if (bad) {
        free(event);
        free(copy);
        flight->out_of_memory = true;
        return false;
    }
    event->token = flight->token;
    event->kind = TMB_PY_AUDIO;
    event->samples = copy;
    event->count = count;
    event->rate = rate;
    tmb_py_inbox_post(flight->inbox, event);
    return true;
}

static void on_result(void *user, const tmb_clone_result *result) {
    tmb_py_flight *flight = user;
    atomic_store(&flight->ended, true);
    if (!atomic_load(&flight->dropped)) {
        tmb_py_event *event = flight->last;
        flight->last = NULL;
        event->token = flight->token;
        event->kind = TMB_PY_RESULT;
        copy_outcome(&event->outcome, result);
        if (flight->out_of_memory) {
            event->outcome.result.error = (tmb_error){.status = TMB_ERROR_MEMORY, .message = "no memory for the audio"};
        }
        tmb_py_inbox_post(flight->inbox, event);
    }
    tmb_py_flight_unref(flight);
}

tmb_clone_callbacks tmb_py_flight_callbacks(tmb_py_flight *flight, bool audio, bool progress) {
    return (tmb_clone_callbacks){.user = flight,
                                 .progress = progress ? on_progress : NULL,
                                 .audio = audio ? on_audio : NULL,
                                 .result = on_result};
}
