/* cmocka with the headers that it wants before itself. */
#ifndef TMB_TESTS_TEST_H
#define TMB_TESTS_TEST_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "timbre/timbre.h"

/* Whether a sanitizer watches, with which everything takes many times as long: it finds what it looks for in fewer
 * rounds of the same code. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) ||               \
    __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#else
#define TEST_SANITIZED 0
#endif

/* Fails with the error's message. */
#define assert_ok(call, error)                                                                                         \
    do {                                                                                                               \
        tmb_status assert_ok_status = (call);                                                                          \
        if (assert_ok_status != TMB_OK) {                                                                              \
            fail_msg("%s: %s", #call, (error).message);                                                                \
        }                                                                                                              \
    } while (0)

#endif
