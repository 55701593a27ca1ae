/* Streams and events: what is put on a stream waits until somebody needs it. */
#include "fakecuda_internal.h"

#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int run_node(const node *n, bool faults) {
    fake.counts.kernels++;
    if (faults) {
        return (int)fake.fault_result;
    }
    tmb_emulate(n->grid, n->threads, n->kernel->run, n->arguments);
    return SUCCESS;
}

static int run_operation(operation *o) {
    switch (o->kind) {
    case COPY: memcpy(o->to, o->owned != NULL ? o->owned : o->from, o->bytes); return SUCCESS;
    case FILL: memset(o->to, 0, o->bytes); return SUCCESS;
    case KERNEL_RUN: return run_node(&o->node, o->fault == 1);
    case GRAPH:
        for (size_t i = 0; i < o->graph->count; i++) {
            int result = run_node(&o->graph->nodes[i], o->fault == (int64_t)i + 1);
            if (result != SUCCESS) {
                return result;
            }
        }
        return SUCCESS;
    default: o->event->reached++; return SUCCESS;
    }
}

int fake_run_stream(stream *s, const event *until) {
    while (s->first != NULL && (until == NULL || until->reached < until->recorded)) {
        operation *o = s->first;
        s->first = o->next;
        s->last = s->first == NULL ? NULL : s->last;
        int result = s->context->sticky != SUCCESS ? SUCCESS : run_operation(o);
        if (result != SUCCESS) {
            s->context->sticky = result;
        }
        if (s->context->sticky != SUCCESS && o->kind == RECORD) {
            o->event->reached++;
        }
        if (o->owned != o->node.arguments) {
            free(o->owned);
        }
        o->next = fake.spare;
        fake.spare = o;
    }
    return s->context->sticky;
}

void fake_run_all(void) {
    for (stream *s = fake.streams; s != NULL; s = s->next) {
        (void)fake_run_stream(s, NULL);
    }
}

operation *fake_append(void *opaque, operation_kind kind) {
    stream *s = opaque;
    if (s == NULL) {
        (void)fprintf(stderr, "fakecuda: the default stream is not to be used\n");
        abort();
    }
    if (fake.spare == NULL) {
        operation *pool = mmap(NULL, 64 * sizeof *pool, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 64; i++) {
            pool[i].next = fake.spare;
            fake.spare = &pool[i];
        }
    }
    operation *o = fake.spare;
    fake.spare = o->next;
    *o = (operation){.kind = kind};
    if (s->last != NULL) {
        s->last->next = o;
    } else {
        s->first = o;
    }
    s->last = o;
    return o;
}

/* Counts `count` kernels off; returns which of them is to fail, or 0. */
static int64_t count_off(int64_t *left, int64_t count) {
    const int64_t fault = *left <= count ? *left : 0;
    *left -= *left <= count ? *left : count;
    return fault;
}

void fake_queue_kernels(operation *o, size_t count, bool again) {
    fake.counts.queued += count;
    o->fault = count_off(&fake.fault_kernel, (int64_t)count);
    if (again && o->fault == 0) {
        o->fault = count_off(&fake.fault_later, (int64_t)count);
    }
}

/* As the cards have it: what is usual is the least. */
enum { GREATEST_PRIORITY = -5 };

EXPORT int cuCtxGetStreamPriorityRange(int *least, int *greatest);
int cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    BEGIN;
    *least = 0;
    *greatest = GREATEST_PRIORITY;
    return fake_unlock(SUCCESS);
}
EXPORT int cuStreamCreateWithPriority(void **out, unsigned flags, int priority);
int cuStreamCreateWithPriority(void **out, unsigned flags, int priority) {
    (void)flags;
    BEGIN;
    stream *s = calloc(1, sizeof *s);
    s->context = fake_current();
    s->next = fake.streams;
    s->background = priority == 0;
    fake.streams = s;
    fake.counts.streams++;
    fake.counts.background_streams += s->background;
    *out = s;
    return fake_unlock(SUCCESS);
}
EXPORT int cuStreamDestroy_v2(void *opaque);
int cuStreamDestroy_v2(void *opaque) {
    fake_lock();
    stream *s = opaque;
    (void)fake_run_stream(s, NULL);
    stream **link = &fake.streams;
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    fake.counts.background_streams -= s->background;
    free(s);
    fake.counts.streams--;
    return fake_unlock(SUCCESS);
}
EXPORT int cuStreamSynchronize(void *s);
int cuStreamSynchronize(void *s) {
    BEGIN;
    return fake_unlock(fake_run_stream(s, NULL));
}
EXPORT int cuEventCreate(void **out, unsigned flags);
int cuEventCreate(void **out, unsigned flags) {
    (void)flags;
    BEGIN;
    *out = calloc(1, sizeof(event));
    fake.counts.events++;
    return fake_unlock(SUCCESS);
}
EXPORT int cuEventDestroy_v2(void *e);
int cuEventDestroy_v2(void *e) {
    fake_lock();
    fake_run_all();
    free(e);
    fake.counts.events--;
    return fake_unlock(SUCCESS);
}
EXPORT int cuEventRecord(void *opaque, void *s);
int cuEventRecord(void *opaque, void *s) {
    BEGIN;
    event *e = opaque;
    e->stream = s;
    e->recorded++;
    e->asked = false;
    fake_append(s, RECORD)->event = e;
    return fake_unlock(SUCCESS);
}
EXPORT int cuEventQuery(void *opaque);
int cuEventQuery(void *opaque) {
    BEGIN;
    event *e = opaque;
    if (e->reached < e->recorded && !e->asked) {
        e->asked = true;
        return fake_unlock(NOT_READY);
    }
    return fake_unlock(e->reached < e->recorded ? fake_run_stream(e->stream, e) : SUCCESS);
}
EXPORT int cuEventSynchronize(void *opaque);
int cuEventSynchronize(void *opaque) {
    BEGIN;
    while (fake.hold != 0) {
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    event *e = opaque;
    return fake_unlock(e->reached < e->recorded ? fake_run_stream(e->stream, e) : SUCCESS);
}
