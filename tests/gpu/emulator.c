#include "emulator.h"
#include "sanitizers.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(WITH_TSAN)
/* Switching orders nothing: only barriers and exchanges do, so that what is not behind one is told as a race. */
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define NO_SYNC 1
#define ACQUIRE(address) __tsan_acquire(address)
#define RELEASE(address) __tsan_release(address)
#else
#define ACQUIRE(address) ((void)(address))
#define RELEASE(address) ((void)(address))
#endif
#if defined(WITH_ASAN)
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
#endif

/* The scheduler's own variables are not what is looked for. */
#if defined(__clang__)
#define UNWATCHED __attribute__((no_sanitize("thread")))
#else
#define UNWATCHED __attribute__((no_sanitize_thread))
#endif

#if defined(__x86_64__)
/* Twelve instructions, where swapcontext makes a system call. */
__asm__(".text\n"
        ".p2align 4\n"
        ".type tmb_fiber_switch, @function\n"
        "tmb_fiber_switch:\n"
        " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        " mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
        " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
        ".size tmb_fiber_switch, .-tmb_fiber_switch\n");
void tmb_fiber_switch(void **save, void *to);
#else
#include <ucontext.h>
#endif

enum { MOST_THREADS = 512, MOST_WARPS = MOST_THREADS / 32, STACK_BYTES = 1 << 16, SHARED_BYTES = 48 << 10 };
typedef enum state { READY, AT_BARRIER, AT_EXCHANGE, DONE } state;

struct tmb_emulation tmb_emulation;

static struct {
    char *stacks;
    state states[MOST_THREADS];
    const tmb_emulated_site *barriers[MOST_THREADS]; /* where each thread came to last */
    void (*kernel)(const void *arguments);
    const void *arguments;
    uint32_t slots[2][MOST_THREADS];
    unsigned char turns[MOST_THREADS], barrier_turns[MOST_THREADS]; /* which of the two is next */
    _Alignas(64) char shared[SHARED_BYTES];
    size_t shared_bytes; /* poisoned in this block */
    uint32_t random;
    /* By turns: who comes to the next barrier orders nothing for who has yet to leave this one. */
    char warp_sync[2][MOST_WARPS], block_sync[2];
    char launch_sync, poison_sync, end_sync;
#if defined(WITH_TSAN)
    void *fibers[MOST_THREADS], *scheduler_fiber;
#endif
#if defined(WITH_ASAN)
    const void *scheduler_bottom;
    size_t scheduler_size;
    void *fake_stacks[MOST_THREADS];
#endif
#if defined(__x86_64__)
    void *scheduler, *saved[MOST_THREADS];
#else
    ucontext_t scheduler, saved[MOST_THREADS];
#endif
} emulator;

UNWATCHED static uint32_t next_random(void) {
    emulator.random = emulator.random * 1664525u + 1013904223u;
    return emulator.random >> 8;
}

/* Back to the scheduler; returns when this thread's turn comes. */
UNWATCHED static void leave(state s) {
    int thread = tmb_emulation.thread;
    emulator.states[thread] = s;
#if defined(WITH_ASAN)
    __sanitizer_start_switch_fiber(s == DONE ? NULL : &emulator.fake_stacks[thread], emulator.scheduler_bottom,
                                   emulator.scheduler_size);
#endif
#if defined(WITH_TSAN)
    __tsan_switch_to_fiber(emulator.scheduler_fiber, NO_SYNC);
#endif
#if defined(__x86_64__)
    tmb_fiber_switch(&emulator.saved[thread], emulator.scheduler);
#else
    (void)swapcontext(&emulator.saved[thread], &emulator.scheduler);
#endif
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(emulator.fake_stacks[thread], &emulator.scheduler_bottom, &emulator.scheduler_size);
#endif
}

UNWATCHED static void begin(void) {
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(NULL, &emulator.scheduler_bottom, &emulator.scheduler_size);
#endif
    ACQUIRE(&emulator.launch_sync);
    emulator.kernel(emulator.arguments);
    RELEASE(&emulator.end_sync);
    leave(DONE);
    abort(); /* a thread that is done has no more turns */
}

UNWATCHED static void enter(int thread) {
    tmb_emulation.thread = thread;
#if defined(WITH_TSAN)
    __tsan_switch_to_fiber(emulator.fibers[thread], NO_SYNC);
#endif
#if defined(WITH_ASAN)
    void *fake_stack = NULL;
    __sanitizer_start_switch_fiber(&fake_stack, emulator.stacks + (size_t)thread * STACK_BYTES, STACK_BYTES);
#endif
#if defined(__x86_64__)
    tmb_fiber_switch(&emulator.scheduler, emulator.saved[thread]);
#else
    (void)swapcontext(&emulator.scheduler, &emulator.saved[thread]);
#endif
#if defined(WITH_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
}

UNWATCHED static void prepare(int thread) {
    char *stack = emulator.stacks + (size_t)thread * STACK_BYTES;
    emulator.states[thread] = READY;
    emulator.turns[thread] = emulator.barrier_turns[thread] = 0;
#if defined(__x86_64__)
    void **top = (void **)(void *)(stack + STACK_BYTES) - 2;
    *top = (void *)(uintptr_t)begin;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    emulator.saved[thread] = top;
#else
    (void)getcontext(&emulator.saved[thread]);
    emulator.saved[thread].uc_stack.ss_sp = stack;
    emulator.saved[thread].uc_stack.ss_size = STACK_BYTES;
    emulator.saved[thread].uc_link = NULL;
    makecontext(&emulator.saved[thread], begin, 0);
#endif
#if defined(WITH_TSAN)
    if (emulator.fibers[thread] == NULL) {
        emulator.fibers[thread] = __tsan_create_fiber(0);
    }
#endif
}

UNWATCHED void *tmb_emulated_shared(size_t bytes) {
    if (bytes > SHARED_BYTES) {
        (void)fprintf(stderr, "emulator: %zu bytes of shared memory are too many\n", bytes);
        abort();
    }
    if (emulator.shared_bytes < bytes) {
        /* The first thread of the block: before any other has come so far. */
        memset(emulator.shared, 0xff, bytes);
        emulator.shared_bytes = bytes;
        RELEASE(&emulator.poison_sync);
    }
    ACQUIRE(&emulator.poison_sync);
    return emulator.shared;
}

/* The barriers that were come to; one may be left out. */
enum { MOST_BARRIERS = 256 };
static tmb_emulated_site *sites[MOST_BARRIERS];
static int site_count, dropped = -1;

const tmb_emulated_site *tmb_emulated_barrier_at(int index) { return index < site_count ? sites[index] : NULL; }

void tmb_emulated_drop_barrier(int index) { dropped = index; }

UNWATCHED void tmb_emulated_barrier(tmb_emulated_site *site) {
    if (site->number == 0) {
        if (site_count == MOST_BARRIERS) {
            abort();
        }
        sites[site_count++] = site;
        site->number = site_count;
    }
    if (site->number - 1 == dropped) {
        return;
    }
    emulator.barriers[tmb_emulation.thread] = site;
    char *sync = &emulator.block_sync[emulator.barrier_turns[tmb_emulation.thread] ^= 1];
    RELEASE(sync);
    leave(AT_BARRIER);
    ACQUIRE(sync);
}

UNWATCHED const uint32_t *tmb_emulated_exchange(uint32_t value) {
    int thread = tmb_emulation.thread, warp = thread / 32;
    unsigned char turn = emulator.turns[thread] ^= 1;
    uint32_t *slots = emulator.slots[turn];
    slots[thread] = value;
    RELEASE(&emulator.warp_sync[turn][warp]);
    leave(AT_EXCHANGE);
    ACQUIRE(&emulator.warp_sync[turn][warp]);
    return slots + (size_t)warp * 32;
}

static void diverge(const char *what) {
    (void)fprintf(stderr, "emulator: threads of block %d, %d, %d diverge at %s\n", tmb_emulation.block[0],
                  tmb_emulation.block[1], tmb_emulation.block[2], what);
    abort();
}

/* Runs a warp until its threads are all at a barrier or done. */
UNWATCHED static void run_warp(int warp) {
    uint32_t first = next_random() % 32, step = 2 * (next_random() % 16) + 1; /* a permutation of 32 */
    for (;;) {
        int count[4] = {0};
        for (uint32_t i = 0; i < 32; i++) {
            int thread = warp * 32 + (int)((first + i * step) % 32);
            if (emulator.states[thread] == READY) {
                enter(thread);
            }
            count[emulator.states[thread]]++;
        }
        if (count[AT_EXCHANGE] == 0) {
            return;
        }
        if (count[AT_EXCHANGE] != 32) {
            diverge("an exchange in a warp");
        }
        for (int thread = warp * 32; thread < warp * 32 + 32; thread++) {
            emulator.states[thread] = READY;
        }
    }
}

UNWATCHED static void run_block(int threads) {
    int warps = threads / 32;
    emulator.shared_bytes = 0;
    RELEASE(&emulator.launch_sync);
    for (int thread = 0; thread < threads; thread++) {
        prepare(thread);
    }
    for (;;) {
        uint32_t first = next_random() % (uint32_t)warps;
        for (int i = 0; i < warps; i++) {
            run_warp((int)((first + (uint32_t)i) % (uint32_t)warps));
        }
        int done = 0;
        for (int thread = 0; thread < threads; thread++) {
            done += emulator.states[thread] == DONE;
            if (emulator.states[thread] == AT_BARRIER && emulator.barriers[thread] != emulator.barriers[0]) {
                diverge("two barriers");
            }
        }
        if (done == threads) {
            break;
        }
        if (done != 0) {
            diverge("a barrier that others do not come to");
        }
        for (int thread = 0; thread < threads; thread++) {
            emulator.states[thread] = READY;
        }
    }
    ACQUIRE(&emulator.end_sync);
}

UNWATCHED void tmb_emulate(const unsigned grid[3], int threads, void (*kernel)(const void *arguments),
                           const void *arguments) {
    if (threads < 32 || threads > MOST_THREADS || threads % 32 != 0) {
        (void)fprintf(stderr, "emulator: a block of %d threads\n", threads);
        abort();
    }
    if (emulator.stacks == NULL) {
        emulator.stacks = aligned_alloc(4096, (size_t)MOST_THREADS * STACK_BYTES);
    }
    emulator.kernel = kernel;
    emulator.arguments = arguments;
    tmb_emulation.threads = threads;
#if defined(WITH_TSAN)
    emulator.scheduler_fiber = __tsan_get_current_fiber();
#endif
    for (unsigned z = 0; z < grid[2]; z++) {
        for (unsigned y = 0; y < grid[1]; y++) {
            for (unsigned x = 0; x < grid[0]; x++) {
                tmb_emulation.block[0] = (int)x;
                tmb_emulation.block[1] = (int)y;
                tmb_emulation.block[2] = (int)z;
                run_block(threads);
            }
        }
    }
#if defined(WITH_TSAN)
    /* None is left: a process that forks with some is not watched any more. */
    for (int thread = 0; thread < threads; thread++) {
        __tsan_destroy_fiber(emulator.fibers[thread]);
        emulator.fibers[thread] = NULL;
    }
#endif
}
