#include "base/team.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define pause_cpu() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define pause_cpu() __asm__ volatile("yield")
#else
#define pause_cpu() ((void)0)
#endif

/* A futex wake and the way through the scheduler cost about this much, so spinning longer than it
 * loses more than it can save. */
#define SPIN_SECONDS 50e-6

/* One word says everything about the run that is going on, so that taking a part is one compare and
 * swap, and fails by itself for a thread that slept through the end of the run: its generation
 * (32 bits), its parts (16) and the next part to take (16). */
#define WORD(generation, parts, next) ((uint64_t)(generation) << 32 | (uint64_t)(parts) << 16 | (uint64_t)(next))
#define WORD_GENERATION(word) ((uint32_t)((word) >> 32))
#define WORD_PARTS(word) ((int)((word) >> 16 & 0xffff))
#define WORD_NEXT(word) ((int)((word)&0xffff))

struct tmb_team {
    /* Apart from each other: every thread writes the first two, all read the word while they spin. */
    _Alignas(64) _Atomic(uint64_t) word;
    _Alignas(64) atomic_int remaining; /* parts that are not done */
    _Alignas(64) _Atomic(tmb_team_function) function;
    _Atomic(void *) argument;
    atomic_int sleepers; /* workers that sleep, or are about to */
    atomic_int caller_sleeps;
    atomic_bool closing;
    pthread_mutex_t lock; /* held to sleep and to wake, never to work */
    pthread_cond_t begun;
    pthread_cond_t done;
    double spin_seconds;
    int worker_count;
    pthread_t workers[];
};

/* Takes and does parts of run `generation` until none is left. */
static void work(tmb_team *team, uint32_t generation) {
    uint64_t word = atomic_load(&team->word);
    while (WORD_GENERATION(word) == generation && WORD_NEXT(word) < WORD_PARTS(word)) {
        /* Both may be of a later run, but then the swap fails. */
        tmb_team_function function = atomic_load_explicit(&team->function, memory_order_relaxed);
        void *argument = atomic_load_explicit(&team->argument, memory_order_relaxed);
        if (!atomic_compare_exchange_weak(&team->word, &word, word + 1)) {
            continue;
        }
        function(argument, WORD_NEXT(word), WORD_PARTS(word));
        if (atomic_fetch_sub(&team->remaining, 1) == 1 && atomic_load(&team->caller_sleeps) != 0) {
            (void)pthread_mutex_lock(&team->lock);
            (void)pthread_cond_signal(&team->done);
            (void)pthread_mutex_unlock(&team->lock);
        }
        word = atomic_load(&team->word);
    }
}

/* Spins until another run than `generation` has begun (true) or time is up. */
static bool spin_for_run(tmb_team *team, uint32_t generation) {
    double end = tmb_now() + team->spin_seconds;
    do {
        for (int i = 0; i < 32; i++) {
            if (WORD_GENERATION(atomic_load_explicit(&team->word, memory_order_acquire)) != generation) {
                return true;
            }
            pause_cpu();
        }
    } while (tmb_now() < end);
    return false;
}

/* The same until every part is done. */
static bool spin_for_end(tmb_team *team) {
    double end = tmb_now() + team->spin_seconds;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&team->remaining, memory_order_acquire) == 0) {
                return true;
            }
            pause_cpu();
        }
    } while (tmb_now() < end);
    return false;
}

static void *worker_main(void *argument) {
    tmb_team *team = argument;
    (void)tmb_denormals_flush();
    (void)pthread_setname_np(pthread_self(), "timbre-team");
    uint32_t generation = 0;
    for (;;) {
        if (!spin_for_run(team, generation)) {
            (void)pthread_mutex_lock(&team->lock);
            (void)atomic_fetch_add(&team->sleepers, 1);
            while (WORD_GENERATION(atomic_load(&team->word)) == generation && !atomic_load(&team->closing)) {
                (void)pthread_cond_wait(&team->begun, &team->lock);
            }
            (void)atomic_fetch_sub(&team->sleepers, 1);
            (void)pthread_mutex_unlock(&team->lock);
        }
        if (atomic_load(&team->closing)) {
            return NULL;
        }
        generation = WORD_GENERATION(atomic_load(&team->word));
        work(team, generation);
    }
}

static void wake_workers(tmb_team *team) {
    (void)pthread_mutex_lock(&team->lock);
    (void)pthread_cond_broadcast(&team->begun);
    (void)pthread_mutex_unlock(&team->lock);
}

void tmb_team_run_parts(tmb_team *team, int parts, tmb_team_function function, void *argument) {
    if (team == NULL || team->worker_count == 0 || parts == 1) {
        for (int part = 0; part < parts; part++) {
            function(argument, part, parts);
        }
        return;
    }
    atomic_store_explicit(&team->function, function, memory_order_relaxed);
    atomic_store_explicit(&team->argument, argument, memory_order_relaxed);
    atomic_store_explicit(&team->remaining, parts, memory_order_relaxed);
    uint32_t generation = WORD_GENERATION(atomic_load_explicit(&team->word, memory_order_relaxed)) + 1;
    atomic_store(&team->word, WORD(generation, parts, 0));
    if (atomic_load(&team->sleepers) != 0) {
        wake_workers(team);
    }
    work(team, generation);
    if (!spin_for_end(team)) {
        (void)pthread_mutex_lock(&team->lock);
        atomic_store(&team->caller_sleeps, 1);
        while (atomic_load(&team->remaining) != 0) {
            (void)pthread_cond_wait(&team->done, &team->lock);
        }
        atomic_store(&team->caller_sleeps, 0);
        (void)pthread_mutex_unlock(&team->lock);
    }
}

void tmb_team_run(tmb_team *team, tmb_team_function function, void *argument) {
    tmb_team_run_parts(team, tmb_team_threads(team), function, argument);
}

int tmb_team_threads(const tmb_team *team) { return team == NULL ? 1 : team->worker_count + 1; }

tmb_status tmb_team_create(int threads, tmb_team **out, tmb_error *error) {
    *out = NULL;
    if (threads < 1 || threads > 256) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "%d threads asked for, 1 to 256 are possible", threads);
    }
    size_t size = sizeof(tmb_team) + (size_t)(threads - 1) * sizeof(pthread_t);
    tmb_team *team = tmb_alloc_aligned(1, size);
    if (team == NULL) {
        return tmb_fail_memory(error, "a team of threads", size);
    }
    /* More threads than CPUs: the one that is waited for may need the CPU of the one that spins. */
    team->spin_seconds = threads <= tmb_cpu_count() ? SPIN_SECONDS : 0;
    (void)pthread_mutex_init(&team->lock, NULL);
    (void)pthread_cond_init(&team->begun, NULL);
    (void)pthread_cond_init(&team->done, NULL);
    for (int i = 0; i < threads - 1; i++) {
        if (pthread_create(&team->workers[i], NULL, worker_main, team) != 0) {
            tmb_team_destroy(&team);
            return tmb_fail(error, TMB_ERROR_MEMORY, "the system refused to start thread %d of %d", i + 2, threads);
        }
        team->worker_count++;
    }
    *out = team;
    return TMB_OK;
}

void tmb_team_destroy(tmb_team **team_address) {
    tmb_team *team = *team_address;
    *team_address = NULL;
    if (team == NULL) {
        return;
    }
    atomic_store(&team->closing, true);
    uint32_t generation = WORD_GENERATION(atomic_load(&team->word)) + 1;
    atomic_store(&team->word, WORD(generation, 0, 0));
    wake_workers(team);
    for (int i = 0; i < team->worker_count; i++) {
        (void)pthread_join(team->workers[i], NULL);
    }
    (void)pthread_cond_destroy(&team->done);
    (void)pthread_cond_destroy(&team->begun);
    (void)pthread_mutex_destroy(&team->lock);
    free(team);
}
