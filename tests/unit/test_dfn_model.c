/* Loading: settings, archives that are not what they should be, and where the model is looked for. */
#include "dfn_fixture.h"

#include "tar_writer.h"
#include "weights/ini.h"
#include "weights/models.h"
#include "weights/tar_gz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The members of the small export. */
enum { MEMBERS = 4 };
static struct {
    char name[64];
    unsigned char *bytes;
    size_t size;
} members[MEMBERS];

static int load_members(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_tar_gz *archive = NULL;
    const tmb_tar_gz_limits limits = {1 << 24, 1 << 24, 10};
    assert_ok(tmb_tar_gz_open(golden_path("dfn/small.tar.gz"), &limits, &archive, &error), error);
    for (size_t i = 0; i < MEMBERS; i++) {
        tmb_tar_gz_member member;
        bool found = false;
        assert_ok(tmb_tar_gz_next(archive, &member, &found, &error), error);
        assert_true(found);
        (void)snprintf(members[i].name, sizeof members[i].name, "%.60s", member.path);
        members[i].size = member.size;
        members[i].bytes = calloc(member.size + 1, 1);
        assert_ok(tmb_tar_gz_read(archive, members[i].bytes, member.size, &error), error);
    }
    tmb_tar_gz_close(&archive);
    return 0;
}

static int free_members(void **state) {
    (void)state;
    for (size_t i = 0; i < MEMBERS; i++) {
        free(members[i].bytes);
    }
    return 0;
}

/* The small export with `from` in config.ini replaced by `to`, and without member `left_out` (MEMBERS: none). */
static tmb_status load_changed(const char *from, const char *to, size_t left_out, tmb_dfn_model **model,
                               tmb_error *error) {
    tar_writer tar = {NULL, 0};
    for (size_t i = 0; i < MEMBERS; i++) {
        if (i == left_out) {
            continue;
        }
        if (i != 3 || from == NULL) {
            tar_member(&tar, members[i].name, '0', members[i].bytes, members[i].size);
            continue;
        }
        const char *text = (const char *)members[i].bytes;
        const char *place = strstr(text, from);
        assert_non_null(place);
        char *changed = NULL;
        const int size = asprintf(&changed, "%.*s%s%s", (int)(place - text), text, to, place + strlen(from));
        assert_true(size > 0);
        tar_member(&tar, members[i].name, '0', changed, (size_t)size);
        free(changed);
    }
    tar_end(&tar);
    size_t size = 0;
    unsigned char *bytes = tar_compress(&tar, 1, &size);
    char path[40];
    const int file = memfd_create("archive", MFD_CLOEXEC);
    assert_true(file >= 0 && write(file, bytes, size) == (ssize_t)size);
    free(bytes);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    *error = (tmb_error){0};
    tmb_status status = tmb_dfn_model_load(path, model, error);
    assert_int_equal(close(file), 0);
    return status;
}

static void expect(const char *from, const char *to, tmb_status wanted, const char *says) {
    tmb_dfn_model *model = NULL;
    tmb_error error;
    assert_int_equal(load_changed(from, to, MEMBERS, &model, &error), wanted);
    assert_null(model);
    if (strstr(error.message, says) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", says, error.message);
    }
}

static void test_settings_that_are_wrong(void **state) {
    (void)state;
    expect("deepfilternet3", "deepfilternet2", TMB_ERROR_UNSUPPORTED, "[train] model = deepfilternet2");
    expect("model = deepfilternet3\n", "", TMB_ERROR_UNSUPPORTED, "[train] model = (missing)");
    expect("df_gru_skip = none", "df_gru_skip = identity", TMB_ERROR_UNSUPPORTED, "df_gru_skip = identity");
    expect("df_gru_skip = none", "enc_concat = True", TMB_ERROR_UNSUPPORTED, "enc_concat = True");
    expect("sr = 16000", "sr = 1", TMB_ERROR_MODEL, "[df] sr = 1: a number from 8000 to 192000");
    expect("sr = 16000", "sr = 16e3", TMB_ERROR_MODEL, "[df] sr = 16e3");
    expect("sr = 16000", "sr = 18446744073709567616", TMB_ERROR_MODEL, "[df] sr = 1844");
    expect("sr = 16000\n", "", TMB_ERROR_MODEL, "[df] sr is missing");
    expect("fft_size = 320", "fft_size = 300", TMB_ERROR_MODEL, "fft_size = 300");
    expect("fft_size = 320", "fft_size = 0", TMB_ERROR_MODEL, "fft_size = 0");
    expect("hop_size = 160", "hop_size = 155", TMB_ERROR_MODEL, "hop_size = 155");
    expect("fft_size = 320\nhop_size = 160", "fft_size = 322\nhop_size = 161", TMB_ERROR_UNSUPPORTED, "322 points");
    expect("nb_erb = 24", "nb_erb = 32", TMB_ERROR_MODEL, "nb_erb");
    expect("nb_erb = 24", "nb_erb = 200", TMB_ERROR_MODEL, "do not fit 161 bins");
    expect("nb_df = 40", "nb_df = 41", TMB_ERROR_MODEL, "[df] nb_df");
    expect("nb_df = 40", "nb_df = 400", TMB_ERROR_MODEL, "more than the 161 bins");
    expect("df_order = 3", "df_order = 5", TMB_ERROR_MODEL, "df_order");
    expect("df_lookahead = 0", "df_lookahead = 2", TMB_ERROR_UNSUPPORTED, "df_lookahead = 2 differ");
    expect("df_lookahead = 0\n[deepfilternet]\nconv_lookahead = 0",
           "df_lookahead = 3\n[deepfilternet]\nconv_lookahead = 3", TMB_ERROR_MODEL, "lookahead of 3");
    expect("conv_ch = 20", "conv_ch = 64", TMB_ERROR_MODEL, "conv_ch");
    expect("emb_hidden_dim = 36", "emb_hidden_dim = 37", TMB_ERROR_MODEL, "emb_hidden_dim");
    expect("emb_num_layers = 2", "emb_num_layers = 3", TMB_ERROR_MODEL, "emb_num_layers");
    expect("df_pathway_kernel_size_t = 4", "df_pathway_kernel_size_t = 5", TMB_ERROR_MODEL, "kernel_size_t");
    expect("norm_tau = 1", "norm_tau = nan", TMB_ERROR_MODEL, "norm_tau = nan");
    expect("norm_tau = 1", "norm_tau = 0", TMB_ERROR_MODEL, "norm_tau = 0");
    expect("norm_tau = 1", "what is this", TMB_ERROR_FORMAT, "line 10");
    expect("[df]", "[df", TMB_ERROR_FORMAT, "line 4");
}

static void test_settings_that_are_right(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        size_t delay;
    } changes[] = {
        {"df_lookahead = 0\n[deepfilternet]\nconv_lookahead = 0",
         "df_lookahead = 2\n[deepfilternet]\nconv_lookahead = 2", 480},
        {"norm_tau = 1", "norm_alpha = 0.98", 160},
        {"df_lookahead = 0", "df_lookahead=0\r\n; a comment\n", 160},
        {"fft_size = 320", "fft_size = 640", 480}, /* four windows over each sample */
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        tmb_dfn_model *model = NULL;
        tmb_error error;
        assert_ok(load_changed(changes[i].from, changes[i].to, MEMBERS, &model, &error), error);
        assert_int_equal(tmb_dfn_config_delay(&model->config), changes[i].delay);
        size_t count = 0;
        size_t got = 0;
        float *samples = dfn_clip("tts_en_odd", &count);
        tmb_enhance_settings settings;
        tmb_enhance_settings_default(&settings);
        settings.max_db_erb_threshold = -1000; /* passes everything: the delay must come out right */
        float *out = dfn_enhance(model, &settings, samples, 9999, 777, &got);
        assert_int_equal(got, 9999);
        if (changes[i].delay != 480 || i == 0) {
            assert_true(golden_snr_db(out, samples, got) > 110);
        }
        free(out);
        free(samples);
        tmb_dfn_model_release(&model);
    }
}

static void test_members_that_are_missing_or_damaged(void **state) {
    (void)state;
    tmb_dfn_model *model = NULL;
    tmb_error error;
    static const char *const names[] = {"enc.onnx", "erb_dec.onnx", "df_dec.onnx", "config.ini"};
    for (size_t i = 0; i < MEMBERS; i++) {
        assert_int_equal(load_changed(NULL, NULL, i, &model, &error), TMB_ERROR_MODEL);
        assert_non_null(strstr(error.message, names[i]));
    }
    /* Networks in each other's place. */
    unsigned char *bytes = members[0].bytes;
    const size_t size = members[0].size;
    members[0].bytes = members[1].bytes;
    members[0].size = members[1].size;
    assert_int_equal(load_changed(NULL, NULL, MEMBERS, &model, &error), TMB_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "enc.onnx is not the DeepFilterNet3 network"));
    members[0].bytes = bytes;
    members[0].size = size / 2;
    assert_int_equal(load_changed(NULL, NULL, MEMBERS, &model, &error), TMB_ERROR_FORMAT);
    members[0].size = size;
    (void)snprintf(members[0].name, sizeof members[0].name, "elsewhere/df_dec.onnx");
    assert_int_equal(load_changed(NULL, NULL, MEMBERS, &model, &error), TMB_ERROR_UNSUPPORTED);
    (void)snprintf(members[0].name, sizeof members[0].name, "enc.onnx");
    (void)snprintf(members[1].name, sizeof members[1].name, "other/enc.onnx");
    assert_int_equal(load_changed(NULL, NULL, MEMBERS, &model, &error), TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "enc.onnx twice"));
    (void)snprintf(members[1].name, sizeof members[1].name, "erb_dec.onnx");
    assert_null(model);
    /* Every 37th byte of the networks damaged in turn: an error or other weights, never a crash. */
    for (size_t i = 0; i < 3; i++) {
        const size_t step = members[i].size / 37;
        for (size_t at = 3; at < members[i].size; at += step) {
            members[i].bytes[at] ^= 0xff;
            if (load_changed(NULL, NULL, MEMBERS, &model, &error) == TMB_OK) {
                tmb_dfn_model_release(&model);
            }
            members[i].bytes[at] ^= 0xff;
        }
    }
    assert_int_equal(tmb_dfn_model_load("/nonexistent.tar.gz", &model, &error), TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "/nonexistent.tar.gz"));
}

static void touch(const char *path) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("\x1f\x8b"
                      "archive",
                      file) >= 0); /* what finds the file looks at its first bytes */
    (void)fclose(file);
}

static void expect_found(const char *given, const char *wanted) {
    tmb_error error = {0};
    char *path = NULL;
    assert_ok(tmb_models_find_denoiser(given, NULL, &path, &error), error);
    assert_string_equal(path, wanted);
    free(path);
}

static void test_where_the_model_is(void **state) {
    (void)state;
    char folder[] = "/tmp/timbre-find-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char data[100], models[100], cache[100], in_data[200], in_cache[200], elsewhere[200];
    (void)snprintf(data, sizeof data, "%s/timbre", folder);
    (void)snprintf(models, sizeof models, "%s/timbre/models", folder);
    (void)snprintf(cache, sizeof cache, "%s/timbre", folder);
    (void)snprintf(in_data, sizeof in_data, "%s/timbre/models/%s", folder, TMB_DFN3_FILE);
    (void)snprintf(in_cache, sizeof in_cache, "%s/timbre/%s", folder, TMB_DFN3_FILE);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", folder);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(mkdir(models, 0700), 0);
    (void)unsetenv("TIMBRE_DENOISER");
    (void)setenv("XDG_DATA_HOME", folder, 1);
    (void)setenv("XDG_CACHE_HOME", folder, 1);
    /* Not the model that whoever runs this has pulled. */
    (void)setenv("HOME", folder, 1);
    (void)setenv("TIMBRE_SYSTEM_MODELS", elsewhere, 1);
    tmb_error error = {0};
    char *path = NULL;
    if (access("/usr/share/timbre/" TMB_DFN3_FILE, R_OK) != 0) {
        assert_int_equal(tmb_models_find_denoiser(NULL, NULL, &path, &error), TMB_ERROR_MODEL);
        assert_non_null(strstr(error.message, "timbre pull dfn3"));
    }
    touch(in_cache);
    expect_found(NULL, in_cache);
    touch(in_data);
    expect_found(NULL, in_data);
    expect_found("", in_data);
    (void)setenv("TIMBRE_DENOISER", elsewhere, 1);
    assert_int_equal(tmb_models_find_denoiser(NULL, NULL, &path, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "TIMBRE_DENOISER"));
    touch(elsewhere);
    expect_found(NULL, elsewhere);
    expect_found(in_cache, in_cache);
    assert_int_equal(tmb_models_find_denoiser("/nonexistent", NULL, &path, &error), TMB_ERROR_MODEL);
    assert_null(path);
    (void)unsetenv("TIMBRE_DENOISER");
    (void)setenv("XDG_DATA_HOME", "relative", 1); /* ignored */
    expect_found(NULL, in_cache);
    (void)unlink(in_cache);
    (void)unlink(in_data);
    (void)unlink(elsewhere);
    (void)rmdir(models);
    (void)rmdir(data);
    (void)rmdir(folder);
}

static void test_ini(void **state) {
    (void)state;
    static const char text[] =
        "top = 1\n[a]\n  key =  value with spaces \t\r\n#x\n;y\nkey = second\n[ b ]\nkey=\nn = 12\nf = -1.5e1";
    tmb_ini *ini = NULL;
    tmb_error error = {0};
    assert_ok(tmb_ini_parse(text, sizeof text - 1, &ini, &error), error);
    assert_string_equal(tmb_ini_find(ini, "", "top"), "1");
    assert_string_equal(tmb_ini_find(ini, "a", "key"), "value with spaces");
    assert_string_equal(tmb_ini_find(ini, "b", "key"), "");
    assert_null(tmb_ini_find(ini, "b", "top"));
    size_t n = 0;
    double f = 0;
    assert_ok(tmb_ini_size(ini, "b", "n", 12, 12, &n, &error), error);
    assert_int_equal(n, 12);
    assert_int_equal(tmb_ini_size(ini, "b", "n", 13, 14, &n, &error), TMB_ERROR_MODEL);
    assert_int_equal(tmb_ini_size(ini, "b", "key", 0, 14, &n, &error), TMB_ERROR_MODEL);
    assert_int_equal(tmb_ini_size(ini, "b", "f", 0, 14, &n, &error), TMB_ERROR_MODEL);
    assert_ok(tmb_ini_number(ini, "b", "f", -20, 0, &f, &error), error);
    assert_true(f > -15.01 && f < -14.99);
    assert_int_equal(tmb_ini_number(ini, "a", "key", -20, 0, &f, &error), TMB_ERROR_MODEL);
    tmb_ini_free(&ini);
    assert_int_equal(tmb_ini_parse("a\0b", 3, &ini, &error), TMB_ERROR_FORMAT);
    assert_int_equal(tmb_ini_parse("= b", 3, &ini, &error), TMB_ERROR_FORMAT);
    assert_int_equal(tmb_ini_parse(text, 65537, &ini, &error), TMB_ERROR_LIMIT);
    assert_ok(tmb_ini_parse(NULL, 0, &ini, &error), error);
    tmb_ini_free(&ini);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_that_are_wrong),
        cmocka_unit_test(test_settings_that_are_right),
        cmocka_unit_test(test_members_that_are_missing_or_damaged),
        cmocka_unit_test(test_where_the_model_is),
        cmocka_unit_test(test_ini),
    };
    return cmocka_run_group_tests_name("dfn-model", tests, load_members, free_members);
}
