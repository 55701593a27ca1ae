#include "faults.h"

#include "store_fixture.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

typedef enum fault { CUT, HALF, RESTART, SLOW, FORGET, FAULTS } fault;

static const char *const fault_names[FAULTS] = {"cut", "half", "restart", "slow", "forget"};

static const int slow_milliseconds = 10;

/* ---- The proxy ---- */

static struct {
    fault what;
    int listener, port;
    atomic_int at; /* the transfer that goes wrong; 0 = none */
    atomic_int transfers;
    atomic_int carrying; /* connections */
    atomic_bool ending;
    /* A server is a child of the thread that starts it, and ends with it: so a thread that stays starts it. */
    atomic_bool restart_wanted;
    pthread_t thread;
} proxy;

typedef struct pair {
    int ends[2]; /* client, server */
} pair;

static void nap(int milliseconds) {
    (void)nanosleep(&(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L}, NULL);
}

static int dial(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", redis_socket());
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address)) {
        (void)close(descriptor);
        descriptor = -1;
    }
    return descriptor;
}

static void forget_scripts(void) {
    static const char command[] = "SCRIPT FLUSH\r\n";
    char answer[16];
    int descriptor = dial();
    if (write(descriptor, command, sizeof command - 1) > 0) {
        (void)!read(descriptor, answer, sizeof answer);
    }
    (void)close(descriptor);
}

/* Does the harm; false: the connection is over. */
static bool suffer(const pair *at, int from) {
    int number = atomic_fetch_add(&proxy.transfers, 1) + 1;
    bool now = number == atomic_load(&proxy.at);
    if (proxy.what == SLOW) {
        nap(slow_milliseconds);
    } else if (proxy.what == FORGET && from == 0) {
        forget_scripts();
    } else if (proxy.what == HALF && now) {
        (void)shutdown(at->ends[!from], SHUT_WR);
    } else if (proxy.what == RESTART && now) {
        atomic_store(&proxy.restart_wanted, true);
        while (atomic_load(&proxy.restart_wanted)) {
            nap(1);
        }
    }
    return proxy.what != CUT || !now;
}

static bool transfer(const pair *at, int from) {
    char bytes[65536];
    ssize_t got = read(at->ends[from], bytes, sizeof bytes);
    return got > 0 && suffer(at, from) && send(at->ends[!from], bytes, (size_t)got, MSG_NOSIGNAL) == got;
}

static void *carry(void *argument) {
    pair *at = argument;
    bool good = true;
    while (good && !atomic_load(&proxy.ending)) {
        struct pollfd both[2] = {{.fd = at->ends[0], .events = POLLIN}, {.fd = at->ends[1], .events = POLLIN}};
        if (poll(both, 2, 50) > 0) {
            for (int i = 0; i < 2 && good; i++) {
                good = !both[i].revents || transfer(at, i);
            }
        }
    }
    (void)close(at->ends[0]);
    (void)close(at->ends[1]);
    free(at);
    atomic_fetch_sub(&proxy.carrying, 1);
    return NULL;
}

static void accept_one(void) {
    pthread_t thread;
    pair *connection = calloc(1, sizeof *connection);
    connection->ends[0] = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);
    connection->ends[1] = dial();
    atomic_fetch_add(&proxy.carrying, 1);
    if (connection->ends[1] < 0 || pthread_create(&thread, NULL, carry, connection)) {
        (void)close(connection->ends[0]);
        (void)close(connection->ends[1]);
        free(connection);
        atomic_fetch_sub(&proxy.carrying, 1);
    } else {
        (void)pthread_detach(thread);
    }
}

static void *attend(void *argument) {
    (void)argument;
    while (!atomic_load(&proxy.ending)) {
        struct pollfd waiting = {.fd = proxy.listener, .events = POLLIN};
        if (poll(&waiting, 1, 5) > 0) {
            accept_one();
        }
        if (atomic_load(&proxy.restart_wanted)) {
            kill_redis();
            start_redis();
            atomic_store(&proxy.restart_wanted, false);
        }
    }
    return NULL;
}

static void open_proxy(fault what) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    proxy.what = what;
    proxy.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(proxy.listener, (struct sockaddr *)&address, sizeof address) || listen(proxy.listener, 64) ||
        getsockname(proxy.listener, (struct sockaddr *)&address, &size) ||
        pthread_create(&proxy.thread, NULL, attend, NULL)) {
        (void)fprintf(stderr, "the proxy cannot be opened\n");
        exit(1);
    }
    proxy.port = ntohs(address.sin_port);
}

static void close_proxy(void) {
    atomic_store(&proxy.ending, true);
    while (atomic_load(&proxy.carrying) > 0) {
        nap(5);
    }
    (void)pthread_join(proxy.thread, NULL);
    (void)close(proxy.listener);
}

/* ---- The runs ---- */

static char doing[128]; /* for whoever reads that a test failed */

/* Once, with the fault at this transfer. Returns how many transfers there were. */
static int run_once(const store_test *test, int at) {
    void *state = NULL;
    (void)snprintf(doing, sizeof doing, "%s, %s at transfer %d", test->name, fault_names[proxy.what], at);
    atomic_store(&proxy.at, 0);
    assert_int_equal(setup_at(&state, proxy.port), 0);
    atomic_store(&proxy.transfers, 0);
    atomic_store(&proxy.at, at);
    test->run(&state);
    int transfers = atomic_load(&proxy.transfers);
    atomic_store(&proxy.at, 0);
    assert_int_equal(teardown(&state), 0);
    return transfers;
}

static void run_everywhere(void **state) {
    const store_test *test = *state;
    bool each = proxy.what == CUT || proxy.what == HALF || proxy.what == RESTART;
    int most = run_once(test, 0);
    assert_true(most > 0);
    if (!each) {
        return;
    }
    /* Another offset for each test, so that together they meet every kind of command. */
    int step = getenv("TIMBRE_FULL_TESTS") != NULL ? 1 : 1 + most / (proxy.what == RESTART ? 2 : 5);
    for (int at = 1 + (int)(strlen(test->name) % (size_t)step); at <= most; at += step) {
        (void)run_once(test, at);
    }
    doing[0] = 0;
}

static fault find_fault(const char *name) {
    int what = 0;
    while (what < FAULTS && strcmp(fault_names[what], name) != 0) {
        what++;
    }
    return (fault)what;
}

int run_store_tests(int argc, char **argv, const char *store, const store_test *tests, size_t count) {
    fault what = argc > 2 ? find_fault(argv[2]) : FAULTS;
    struct CMUnitTest *runs = calloc(count, sizeof *runs);
    size_t wanted = 0;
    if (runs == NULL || (argc > 2 && what == FAULTS)) {
        return 2;
    }
    for (size_t i = 0; i < count; i++) {
        if (what == FAULTS) {
            runs[wanted++] = (struct CMUnitTest){
                .name = tests[i].name, .test_func = tests[i].run, .setup_func = setup, .teardown_func = teardown};
        } else if (!tests[i].alone) {
            runs[wanted++] = (struct CMUnitTest){
                .name = tests[i].name, .test_func = run_everywhere, .initial_state = (void *)(uintptr_t)&tests[i]};
        }
    }
    int skip = choose_store(argc > 1 ? argv[1] : store);
    if (skip) {
        free(runs);
        return skip;
    }
    if (what != FAULTS) {
        open_proxy(what);
    }
    int failed = _cmocka_run_group_tests(argv[0], runs, wanted, NULL, NULL);
    if (failed && doing[0]) {
        (void)fprintf(stderr, "the last run was %s\n", doing);
    }
    if (what != FAULTS) {
        close_proxy();
    }
    free(runs);
    return failed + stop_redis(NULL);
}
