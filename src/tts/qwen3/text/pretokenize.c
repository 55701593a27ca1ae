#define PCRE2_CODE_UNIT_WIDTH 8
#include "tts/qwen3/text/pretokenize.h"

#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/text/unicode_ranges.h"

#include <pcre2.h>
#include <stdlib.h>

/* Backtracking steps allowed for one match: white space that ends in no line break costs one a character. */
#define MATCH_LIMIT_MINIMUM 100000u
#define JIT_STACK_BYTES (1u << 20)

/* White_Space as Unicode defines it; PCRE2's \s has U+180E as well, and lacks nothing. */
#define SPACES "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define SPACE "[" SPACES "]"

static const char *const sources[] = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+",
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};

/* Classes with what was added to Unicode since PCRE2's tables, for use inside brackets. */
#define LETTERS "\\p{L}" TMB_NEWER_LETTERS
#define NUMBERS "\\p{N}" TMB_NEWER_NUMBERS
#define CASELESS "\\p{Lm}\\p{Lo}\\p{M}" TMB_NEWER_MODIFIERS TMB_NEWER_OTHERS TMB_NEWER_MARKS
#define UPPER "[\\p{Lu}\\p{Lt}" TMB_NEWER_UPPER CASELESS "]"
#define LOWER "[\\p{Ll}" TMB_NEWER_LOWER CASELESS "]"
#define OTHER "[^" SPACES LETTERS NUMBERS "]"
#define BEFORE_WORD "[^\\r\\n" LETTERS NUMBERS "]?"
#define SPACE_RUNS SPACE "*[\\r\\n]+|" SPACE "+(?![^" SPACES "])|" SPACE "+"

static const char *const patterns[] = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|" BEFORE_WORD "[" LETTERS "]+|[" NUMBERS "]| ?" OTHER "+[\\r\\n]*|" SPACE_RUNS,
    BEFORE_WORD UPPER "*" LOWER "+|" BEFORE_WORD UPPER "+" LOWER "*|[" NUMBERS "]| ?" OTHER "+[\\r\\n/]*|" SPACE_RUNS,
};

struct tmb_pretokenizer {
    pcre2_code *code;
};

struct tmb_pretokenizer_run {
    const tmb_pretokenizer *pretokenizer;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    size_t limited_bytes; /* the text length for which the limits are set */
};

const char *tmb_text_pattern_source(tmb_text_pattern pattern) { return sources[pattern]; }

tmb_status tmb_pretokenizer_create(tmb_text_pattern pattern, tmb_pretokenizer **out, tmb_error *error) {
    *out = NULL;
    tmb_pretokenizer *pretokenizer = tmb_calloc(1, sizeof *pretokenizer);
    if (pretokenizer == NULL) {
        return tmb_fail_memory(error, "a tokenizer", 0);
    }
    int number = 0;
    PCRE2_SIZE offset = 0;
    pretokenizer->code = pcre2_compile((PCRE2_SPTR)patterns[pattern], PCRE2_ZERO_TERMINATED,
                                       PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &number, &offset, NULL);
    if (pretokenizer->code == NULL) {
        free(pretokenizer);
        return tmb_fail(error, number == PCRE2_ERROR_NOMEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_INTERNAL,
                        "PCRE2 cannot compile the tokenizer's pattern (error %d at %zu)", number, (size_t)offset);
    }
    /* If there is no JIT the interpreter does the same. */
    (void)pcre2_jit_compile(pretokenizer->code, PCRE2_JIT_COMPLETE);
    *out = pretokenizer;
    return TMB_OK;
}

void tmb_pretokenizer_destroy(tmb_pretokenizer **pretokenizer_address) {
    tmb_pretokenizer *pretokenizer = *pretokenizer_address;
    *pretokenizer_address = NULL;
    if (pretokenizer != NULL) {
        pcre2_code_free(pretokenizer->code);
        free(pretokenizer);
    }
}

tmb_status tmb_pretokenizer_run_create(const tmb_pretokenizer *pretokenizer, tmb_pretokenizer_run **out,
                                       tmb_error *error) {
    *out = NULL;
    tmb_pretokenizer_run *run = tmb_calloc(1, sizeof *run);
    if (run == NULL) {
        return tmb_fail_memory(error, "a tokenizer", 0);
    }
    run->pretokenizer = pretokenizer;
    run->data = pcre2_match_data_create_from_pattern(pretokenizer->code, NULL);
    run->context = pcre2_match_context_create(NULL);
    run->stack = pcre2_jit_stack_create(32768, JIT_STACK_BYTES, NULL);
    if (run->data == NULL || run->context == NULL) {
        tmb_pretokenizer_run_destroy(&run);
        return tmb_fail_memory(error, "a tokenizer", 0);
    }
    if (run->stack != NULL) {
        pcre2_jit_stack_assign(run->context, NULL, run->stack);
    }
    *out = run;
    return TMB_OK;
}

void tmb_pretokenizer_run_destroy(tmb_pretokenizer_run **run_address) {
    tmb_pretokenizer_run *run = *run_address;
    *run_address = NULL;
    if (run != NULL) {
        pcre2_match_data_free(run->data);
        pcre2_match_context_free(run->context);
        pcre2_jit_stack_free(run->stack);
        free(run);
    }
}

tmb_status tmb_pretokenizer_next(tmb_pretokenizer_run *run, const char *text, size_t bytes, size_t from, size_t *end,
                                 tmb_error *error) {
    if (bytes != run->limited_bytes) {
        size_t limit = 4 * bytes + MATCH_LIMIT_MINIMUM;
        (void)pcre2_set_match_limit(run->context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
        run->limited_bytes = bytes;
    }
    /* The text is known to be valid UTF-8: checking it at every match would take quadratic time. */
    uint32_t options = PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK;
    const pcre2_code *code = run->pretokenizer->code;
    int found = pcre2_match(code, (PCRE2_SPTR)text, bytes, from, options, run->data, run->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
        found = pcre2_match(code, (PCRE2_SPTR)text, bytes, from, options | PCRE2_NO_JIT, run->data, run->context);
    }
    if (found <= 0) {
        return tmb_fail(error, found == PCRE2_ERROR_NOMEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_LIMIT,
                        "the text at byte %zu cannot be split into tokens (PCRE2 error %d)", from, found);
    }
    *end = pcre2_get_ovector_pointer(run->data)[1];
    return TMB_OK;
}
