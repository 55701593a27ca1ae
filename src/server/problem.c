#include "server/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(tmb_problem *problem, unsigned status, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));
static void say(tmb_problem *problem, unsigned status, const char *format, va_list arguments) {
    problem->status = status;
    (void)vsnprintf(problem->message, sizeof problem->message, format, arguments);
}

bool tmb_problem_set(tmb_problem *problem, const char *field, unsigned status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)tmb_problem_name(problem, field != NULL ? field : "");
    say(problem, status, format, arguments);
    va_end(arguments);
    return false;
}

bool tmb_problem_say(tmb_problem *problem, unsigned status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(problem, status, format, arguments);
    va_end(arguments);
    return false;
}

bool tmb_problem_name(tmb_problem *problem, const char *field) {
    (void)snprintf(problem->field, sizeof problem->field, "%s", field);
    return false;
}

bool tmb_problem_within(tmb_problem *problem, const char *list, size_t index) {
    char inner[sizeof problem->field];
    memcpy(inner, problem->field, sizeof inner);
    (void)snprintf(problem->field, sizeof problem->field, "%s[%zu].%s", list, index, inner);
    return false;
}
