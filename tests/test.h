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

/* Fails with the error's message. */
#define assert_ok(call, error)                                                                                         \
    do {                                                                                                               \
        tmb_status assert_ok_status = (call);                                                                          \
        if (assert_ok_status != TMB_OK) {                                                                              \
            fail_msg("%s: %s", #call, (error).message);                                                                \
        }                                                                                                              \
    } while (0)

#endif
