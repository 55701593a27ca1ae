/* Finding and opening weights, and what a hub answers, with every allocation failing in turn. */
#include "fault.h"

#include "golden.h"

#include "weights/hub_list.h"
#include "weights/models.h"
#include "weights/safetensors.h"

#include <stdlib.h>
#include <string.h>

static tmb_status open_tensors(void *user, tmb_error *error) {
    (void)user;
    tmb_safetensors *tensors = NULL;
    tmb_status status = tmb_safetensors_open(golden_path("qwen/sample-e/model"), &tensors, error);
    assert_true((tensors != NULL) == (status == TMB_OK));
    tmb_safetensors_close(&tensors);
    return status;
}

static tmb_status find_checkpoint(void *user, tmb_error *error) {
    (void)user;
    tmb_model_state state;
    char *folder = NULL;
    tmb_status status = tmb_models_find_checkpoint(golden_path("qwen/sample-e/model"), &state, &folder, error);
    assert_true((folder != NULL) == (status == TMB_OK));
    free(folder);
    return status;
}

static tmb_status read_list(void *user, tmb_error *error) {
    static const char text[] =
        "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":"
        "4494,\"blobId\":\"0123456789abcdef0123456789abcdef01234567\"},{\"rfilename\":\"a/b.json\",\"size\":3,"
        "\"blobId\":\"0123456789abcdef0123456789abcdef01234567\"}]}";
    (void)user;
    tmb_hub_list list;
    tmb_status status = tmb_hub_list_parse("hub", text, strlen(text), &list, error);
    assert_true(status != TMB_OK || list.count == 2);
    tmb_hub_list_free(&list);
    return status;
}

static void test_tensors(void **state) {
    (void)state;
    fault_check(open_tensors, NULL, false);
}

static void test_checkpoint(void **state) {
    (void)state;
    fault_check(find_checkpoint, NULL, true);
}

static void test_list(void **state) {
    (void)state;
    fault_check(read_list, NULL, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests_name("fault: weights", tests, NULL, NULL);
}
