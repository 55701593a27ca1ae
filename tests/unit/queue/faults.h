/* Runs tests of a store: plainly, or with a proxy between the store and its server that does harm. */
#ifndef TMB_STORE_FAULTS_H
#define TMB_STORE_FAULTS_H

#include "test.h"

typedef struct store_test {
    const char *name;
    void (*run)(void **state);
    /* It is run without harm alone: it does harm itself, or counts events, which are hints and may be lost with their
     * connection. */
    bool alone;
} store_test;

#define STORE_TEST(function)                                                                                           \
    { .name = #function, .run = function }

/* Arguments of the program: the store (see choose_store; `store` if there is none), and a fault: "cut" (the connection
 * is cut at one transfer, in either direction), "half" (only that direction is closed), "restart" (the server is killed
 * there and starts again on what it had written): each test is run once for every transfer that it has, for some of
 * them unless TIMBRE_FULL_TESTS is set; "slow" (every transfer waits), "forget" (the server forgets its scripts before
 * each command): each test is run once. Returns the program's exit status. */
int run_store_tests(int argc, char **argv, const char *store, const store_test *tests, size_t count);

#endif
