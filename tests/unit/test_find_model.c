/* What a name or folder leads to: a whole checkpoint, a part of one, or nothing, each said without loading it. */
#include "golden.h"
#include "test.h"

#include "timbre/timbre.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define OTHER_COMMIT "fedcba9876543210fedcba9876543210fedcba98"
#define SMALL "models--Qwen--Qwen3-TTS-12Hz-0.6B-Base"
#define LFS_POINTER "version https://git-lfs.github.com/spec/v1\noid sha256:180b\nsize 1829344272\n"

static char home[64];

/* Runs a shell command with $H the test's folder and $M the golden checkpoint. */
static void shell(const char *command) {
    assert_int_equal(setenv("H", home, 1), 0);
    assert_int_equal(setenv("M", golden_path("qwen/sample-c/model"), 1), 0);
    if (system(command) != 0) {
        fail_msg("%s", command);
    }
}

static int make_home(void **state) {
    (void)state;
    strcpy(home, "/tmp/timbre-find-XXXXXX");
    if (mkdtemp(home) == NULL) {
        return 1;
    }
    static const char *const unset[] = {"HF_HOME",        "HF_HUB_CACHE",  "HUGGINGFACE_HUB_CACHE",
                                        "XDG_CACHE_HOME", "XDG_DATA_HOME", "TIMBRE_DENOISER"};
    for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) {
        (void)unsetenv(unset[i]);
    }
    char system_folder[96];
    (void)snprintf(system_folder, sizeof system_folder, "%s/system", home);
    return setenv("HOME", home, 1) != 0 || setenv("TIMBRE_SYSTEM_MODELS", system_folder, 1) != 0;
}

static int remove_home(void **state) {
    (void)state;
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static void check(const char *what, const char *model, tmb_model_state expected, const char *text) {
    tmb_error error = {0};
    tmb_model_state state = TMB_MODEL_COMPLETE;
    char *path = NULL;
    tmb_status status = tmb_find_model(model, &state, &path, &error);
    if (state != expected || (status == TMB_OK) != (expected == TMB_MODEL_COMPLETE) ||
        (status != TMB_OK && (status != TMB_ERROR_MODEL || path != NULL)) ||
        strstr(status == TMB_OK ? path : error.message, text) == NULL) {
        fail_msg("%s: state %d, status %s, \"%s\", path %s; expected state %d and \"%s\"", what, state,
                 tmb_status_name(status), error.message, path != NULL ? path : "none", expected, text);
    }
    tmb_free(path);
}

/* A copy of the golden checkpoint at $H/model, then `damage`. */
static void test_damaged_folders(void **state) {
    (void)state;
    static const struct {
        const char *damage;
        tmb_model_state state;
        const char *text;
    } cases[] = {
        {"true", TMB_MODEL_COMPLETE, "/model"},
        {"rm config.json", TMB_MODEL_INCOMPLETE, "config.json is missing"},
        {"rm model.safetensors", TMB_MODEL_INCOMPLETE, "model.safetensors is missing"},
        {"rm speech_tokenizer/config.json", TMB_MODEL_INCOMPLETE, "speech_tokenizer/config.json is missing"},
        {"rm speech_tokenizer/model.safetensors", TMB_MODEL_INCOMPLETE,
         "speech_tokenizer/model.safetensors is missing"},
        {"rm -r speech_tokenizer", TMB_MODEL_INCOMPLETE, "speech_tokenizer/config.json is missing"},
        {"rm vocab.json", TMB_MODEL_INCOMPLETE, "vocab.json is missing"},
        {"rm merges.txt", TMB_MODEL_INCOMPLETE, "merges.txt is missing"},
        {"rm tokenizer_config.json", TMB_MODEL_INCOMPLETE, "tokenizer_config.json is missing"},
        {"printf \"$P\" > model.safetensors", TMB_MODEL_INCOMPLETE, "model.safetensors is a Git LFS pointer"},
        {"printf \"$P\" > speech_tokenizer/model.safetensors", TMB_MODEL_INCOMPLETE,
         "speech_tokenizer/model.safetensors is a Git LFS pointer"},
        {"printf \"$P\" > vocab.json", TMB_MODEL_INCOMPLETE, "vocab.json is a Git LFS pointer"},
        {"printf \"$P\" > tokenizer_config.json", TMB_MODEL_INCOMPLETE, "tokenizer_config.json is a Git LFS pointer"},
        {": > config.json", TMB_MODEL_INCOMPLETE, "config.json is empty"},
        {": > model.safetensors", TMB_MODEL_INCOMPLETE, "model.safetensors is empty"},
        {"truncate -s -1 model.safetensors", TMB_MODEL_INCOMPLETE, "is the download complete?"},
        {"truncate -s 5 model.safetensors", TMB_MODEL_INCOMPLETE, "model.safetensors: not a safetensors file"},
        {"truncate -s 300 speech_tokenizer/model.safetensors", TMB_MODEL_INCOMPLETE,
         "speech_tokenizer/model.safetensors: "},
        {"echo '<html>sign in</html>' > model.safetensors", TMB_MODEL_INCOMPLETE, "model.safetensors: "},
        {"ln -sf ../../blobs/absent model.safetensors", TMB_MODEL_INCOMPLETE,
         "model.safetensors is a link to a file that is not there"},
        {"ln -sf absent tokenizer_config.json", TMB_MODEL_INCOMPLETE, "tokenizer_config.json is a link"},
        {"rm config.json && mkdir config.json", TMB_MODEL_INCOMPLETE, "config.json is not a file"},
        {"rm -r *", TMB_MODEL_ABSENT, "not a Qwen3-TTS checkpoint: config.json is missing"},
        {"cd .. && rm -r model && touch model", TMB_MODEL_ABSENT, "neither a checkpoint's folder nor one of"},
        /* Links are as good as files. */
        {"mv model.safetensors ../blob && ln -s ../blob model.safetensors", TMB_MODEL_COMPLETE, "/model"},
        {"mv ../model ../elsewhere && ln -s elsewhere ../model", TMB_MODEL_COMPLETE, "/model"},
    };
    assert_int_equal(setenv("P", LFS_POINTER, 1), 0);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/model", home);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        shell("rm -rf $H/model $H/elsewhere $H/blob && cp -rL $M $H/model");
        char command[256];
        (void)snprintf(command, sizeof command, "cd $H/model && %s", cases[i].damage);
        shell(command);
        check(cases[i].damage, path, cases[i].state, cases[i].text);
    }
    shell("rm -rf $H/model $H/elsewhere $H/blob");
}

/* Lays the golden checkpoint out as the hub's cache does, below $H/`hub`. */
static void make_snapshot(const char *hub, const char *commit) {
    char command[512];
    (void)snprintf(command, sizeof command,
                   "R=$H/%s/" SMALL
                   " && mkdir -p $R/blobs $R/snapshots/%s/speech_tokenizer && cd $M && for f in *.json "
                   "*.txt *.safetensors speech_tokenizer/*; do b=$(echo $f | md5sum | cut -c1-32)12345678; cp -L $f "
                   "$R/blobs/$b; ln -srf $R/blobs/$b $R/snapshots/%s/$f; done",
                   hub, commit, commit);
    shell(command);
}

static void test_names_and_caches(void **state) {
    (void)state;
    static const char *const names[] = {"0.6b", "0.6B", "qwen3-tts-0.6b", "Qwen/Qwen3-TTS-12Hz-0.6B-Base",
                                        "qwen/qwen3-tts-12hz-0.6b-base"};
    char folder[192];
    char snapshot[192];
    check("nothing", NULL, TMB_MODEL_ABSENT, "run `timbre pull qwen3-tts-0.6b`");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check("nothing", names[i], TMB_MODEL_ABSENT, "is not installed: run `timbre pull qwen3-tts-0.6b`");
    }
    check("nothing", "owner/other", TMB_MODEL_ABSENT, "run `timbre pull owner/other`");
    check("nothing", "dfn3", TMB_MODEL_ABSENT, "speaks no text");
    check("nothing", "1.8b", TMB_MODEL_ABSENT, "neither a checkpoint's folder nor one of");

    make_snapshot(".cache/huggingface/hub", COMMIT);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check("a snapshot", names[i], TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);
    }
    check("a snapshot", NULL, TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);
    (void)snprintf(folder, sizeof folder, "%s/.cache/huggingface/hub/" SMALL, home);
    check("the cache's folder", folder, TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);
    (void)snprintf(folder, sizeof folder, "%s/.cache/huggingface/hub/" SMALL "/", home);
    check("the cache's folder", folder, TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);
    (void)snprintf(snapshot, sizeof snapshot, "%s/.cache/huggingface/hub/" SMALL "/snapshots/" COMMIT, home);
    check("a snapshot's folder", snapshot, TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);

    /* A second snapshot that is only begun, and is "main": the whole one is used. */
    shell("R=$H/.cache/huggingface/hub/" SMALL " && mkdir -p $R/refs $R/snapshots/" OTHER_COMMIT
          " && printf " OTHER_COMMIT " > $R/refs/main && cp -L $M/config.json $R/snapshots/" OTHER_COMMIT);
    check("main is begun", "0.6b", TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);

    /* A link whose blob is gone, as after a cleaning of the cache by hand. */
    shell("rm $(readlink -f $H/.cache/huggingface/hub/" SMALL "/snapshots/" COMMIT "/model.safetensors)");
    check("a blob is gone", "0.6b", TMB_MODEL_INCOMPLETE, "model.safetensors is missing");
    check("a blob is gone", NULL, TMB_MODEL_INCOMPLETE, "run `timbre pull qwen3-tts-0.6b`, which goes on");
    check("a blob is gone", snapshot, TMB_MODEL_INCOMPLETE, "model.safetensors is a link to a file that is not there");
    (void)snprintf(folder, sizeof folder, "%s/.cache/huggingface/hub/" SMALL, home);
    check("a blob is gone", folder, TMB_MODEL_INCOMPLETE, "no snapshot in this folder is a whole checkpoint");

    /* A whole one in the machine's cache is better than a part in the user's. */
    make_snapshot("system/hub", COMMIT);
    check("the machine's", "0.6b", TMB_MODEL_COMPLETE, "/system/hub/");
    check("the machine's", NULL, TMB_MODEL_COMPLETE, "/system/hub/");
    shell("rm -r $H/system $H/.cache");

    /* A download that has just begun. */
    shell("R=$H/.cache/huggingface/hub/" SMALL "/blobs && mkdir -p $R && printf abc > $R/180b.incomplete");
    check("begun", "0.6b", TMB_MODEL_INCOMPLETE, "its download has not finished");
    check("begun", NULL, TMB_MODEL_INCOMPLETE, "its download has not finished");
    shell("rm -r $H/.cache");
}

/* Each variable in turn leads to the cache, "~" and other variables in it included. */
static void test_variables(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *hub;
    } cases[] = {
        {"HF_HUB_CACHE", "~/a", "a"},
        {"HUGGINGFACE_HUB_CACHE", "~/b", "b"},
        {"HF_HOME", "~/c", "c/hub"},
        {"HF_HOME", "$HOME/d", "d/hub"},
        {"HF_HOME", "${HOME}/e", "e/hub"},
        {"HF_HOME", "~/$WHERE/f", "x/f/hub"},
        {"HF_HUB_CACHE", "$HOME/$ABSENT/g", "$ABSENT/g"},
        {"HF_HOME", "~", "hub"},
    };
    assert_int_equal(setenv("WHERE", "x", 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[128];
        make_snapshot("made", COMMIT);
        (void)snprintf(command, sizeof command, "mkdir -p \"$H/%s\" && mv $H/made/* \"$H/%s\"", cases[i].hub,
                       cases[i].hub);
        if (strchr(cases[i].hub, '$') != NULL) {
            (void)snprintf(command, sizeof command, "mkdir -p $H/'%s' && mv $H/made/* $H/'%s'", cases[i].hub,
                           cases[i].hub);
        }
        shell(command);
        check(cases[i].value, "0.6b", TMB_MODEL_ABSENT, "not installed");
        assert_int_equal(setenv(cases[i].name, cases[i].value, 1), 0);
        check(cases[i].value, "0.6b", TMB_MODEL_COMPLETE, "/snapshots/" COMMIT);
        (void)unsetenv(cases[i].name);
        shell("rm -rf $H/*");
    }
}

static void test_denoiser(void **state) {
    (void)state;
    static const struct {
        const char *command;
        tmb_model_state state;
        const char *text;
    } cases[] = {
        {"mkdir -p $H/.local/share/timbre/models", TMB_MODEL_ABSENT, "run `timbre pull dfn3`"},
        {"printf '\\037\\213abc' > $H/.local/share/timbre/models/DeepFilterNet3_onnx.tar.gz", TMB_MODEL_COMPLETE,
         ".gz"},
        {"printf \"$P\" > $H/.local/share/timbre/models/DeepFilterNet3_onnx.tar.gz", TMB_MODEL_INCOMPLETE,
         "Git LFS pointer"},
        {"echo '<html>' > $H/.local/share/timbre/models/DeepFilterNet3_onnx.tar.gz", TMB_MODEL_INCOMPLETE,
         "not a .tar.gz archive"},
        {"rm -r $H/.local && mkdir $H/system && printf '\\037\\213abc' > $H/system/DeepFilterNet3_onnx.tar.gz",
         TMB_MODEL_COMPLETE, "/system/"},
    };
    struct stat about;
    if (stat("/usr/share/timbre/DeepFilterNet3_onnx.tar.gz", &about) == 0) {
        skip(); /* a package's denoiser is always found */
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_error error = {0};
        tmb_model_state found = TMB_MODEL_COMPLETE;
        char *path = NULL;
        shell(cases[i].command);
        tmb_status status = tmb_find_denoiser(NULL, &found, &path, &error);
        if (found != cases[i].state || strstr(status == TMB_OK ? path : error.message, cases[i].text) == NULL) {
            fail_msg("%s: state %d, \"%s\"", cases[i].command, found, error.message);
        }
        tmb_free(path);
    }
}

/* A model that cannot be opened for want of a descriptor is there: who waits for it may try again. */
static void test_no_descriptor(void **state) {
    (void)state;
    char path[128];
    char *found = NULL;
    tmb_error error = {0};
    struct rlimit before;
    struct rlimit few;
    shell("mkdir -p $H/models && printf '\\037\\213abc' > $H/models/denoiser.tar.gz");
    (void)snprintf(path, sizeof path, "%s/models/denoiser.tar.gz", home);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    tmb_status status = tmb_find_denoiser(path, NULL, &found, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, TMB_ERROR_MODEL);
    assert_int_equal(error.system, EMFILE);
    assert_null(found);
    assert_int_equal(tmb_find_denoiser(path, NULL, &found, &error), TMB_OK);
    tmb_free(found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_folders), cmocka_unit_test(test_names_and_caches),
        cmocka_unit_test(test_variables),       cmocka_unit_test(test_denoiser),
        cmocka_unit_test(test_no_descriptor),
    };
    return cmocka_run_group_tests_name("find model", tests, make_home, remove_home);
}
