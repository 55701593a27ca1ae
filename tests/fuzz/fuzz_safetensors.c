/* Any bytes as a safetensors file, and as the index of two shards: refused with a message, or every tensor lies inside
 * its file and can be read. The first byte chooses. */
#include "fuzz.h"

#include "weights/safetensors.h"
#include "weights/safetensors_header.h"

#include <sys/mman.h>
#include <unistd.h>

static void check_tensor(const tmb_tensor *tensor) {
    size_t count = 1;
    fuzz_check(tensor->rank >= 0 && tensor->rank <= TMB_TENSOR_RANK_MAX && tensor->name != NULL);
    for (int i = 0; i < tensor->rank; i++) {
        fuzz_check(!__builtin_mul_overflow(count, tensor->dims[i], &count));
    }
    fuzz_check(count == tensor->count && tensor->bytes == count * tmb_dtype_size(tensor->dtype));
}

static void parse_header(const uint8_t *data, size_t size) {
    /* A copy of its own size and aligned as a mapping is. */
    unsigned char *bytes = NULL;
    fuzz_check(posix_memalign((void **)&bytes, 64, size > 0 ? size : 1) == 0);
    if (size > 0) {
        memcpy(bytes, data, size);
    }
    tmb_tensor *tensors = NULL;
    size_t count = 0;
    tmb_error error = {0};
    if (tmb_safetensors_header_parse("fuzz", bytes, size, &tensors, &count, &error) == TMB_OK) {
        const int file = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_check(file >= 0 && write(file, bytes, size) == (ssize_t)size);
        const unsigned char *end = bytes;
        for (size_t i = 0; i < count; i++) {
            const unsigned char *start = tensors[i].data;
            check_tensor(&tensors[i]);
            fuzz_check(tensors[i].bytes == 0 || (start >= end && tensors[i].bytes <= (size_t)(bytes + size - start)));
            fuzz_check((uintptr_t)start % tmb_dtype_size(tensors[i].dtype) == 0);
            end = tensors[i].bytes > 0 ? start + tensors[i].bytes : end; /* none overlaps another */
            float *values = malloc((tensors[i].count + 1) * sizeof *values);
            fuzz_check(values != NULL);
            tensors[i].file = file;
            (void)tmb_tensor_read_f32(&tensors[i], 0, tensors[i].count, values, &error);
            free(values);
        }
        fuzz_check(close(file) == 0);
        tmb_safetensors_header_free(tensors, count);
    } else {
        fuzz_check(error.status != TMB_OK && error.message[0] != '\0');
    }
    free(bytes);
}

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[2][128];
    static int turn;
    turn ^= 1;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void write_file(const char *name, const void *bytes, size_t size) {
    FILE *file = fopen(in_folder(name), "wb");
    fuzz_check(file != NULL && fwrite(bytes, 1, size, file) == size);
    fuzz_check(fclose(file) == 0);
}

static void write_shard(const char *name, const char *tensor) {
    char bytes[8 + 64 + 16] = {64};
    (void)snprintf(bytes + 8, 65, "%-64s", "");
    int length = snprintf(bytes + 8, 64, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", tensor);
    bytes[8 + length] = ' ';
    memset(bytes + 8 + 64, 0, 16);
    write_file(name, bytes, sizeof bytes);
}

static void remove_folder(void) {
    static const char *const names[] = {"a.safetensors", "b.safetensors", "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unlink(in_folder(names[i]));
    }
    (void)rmdir(folder);
}

static void read_index(const uint8_t *data, size_t size) {
    if (folder[0] == '\0') {
        strcpy(folder, "/tmp/timbre-fuzz-XXXXXX");
        fuzz_check(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
        write_shard("a.safetensors", "x");
        write_shard("b.safetensors", "y");
    }
    write_file("model.safetensors.index.json", data, size);
    tmb_safetensors *safetensors = NULL;
    tmb_error error = {0};
    if (tmb_safetensors_open(folder, &safetensors, &error) != TMB_OK) {
        fuzz_check(safetensors == NULL && error.message[0] != '\0');
        return;
    }
    for (size_t i = 0; i < tmb_safetensors_count(safetensors); i++) {
        const tmb_tensor *tensor = tmb_safetensors_at(safetensors, i);
        float values[4];
        check_tensor(tensor);
        fuzz_check(tmb_safetensors_find(safetensors, tensor->name) == tensor && tensor->count == 4);
        fuzz_check(tmb_tensor_read_f32(tensor, 0, 4, values, &error) == TMB_OK);
    }
    tmb_safetensors_close(&safetensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0 && data[0] % 4 == 3) {
        read_index(data + 1, size - 1);
    } else if (size > 0) {
        parse_header(data + 1, size - 1);
    }
    return 0;
}

static void add_file(fuzz_add_seed add, const char *header, size_t data_bytes) {
    uint8_t bytes[1024] = {0};
    size_t length = (strlen(header) + 7) / 8 * 8;
    fuzz_check(9 + length + data_bytes <= sizeof bytes);
    bytes[1] = (uint8_t)length;
    bytes[2] = (uint8_t)(length >> 8);
    memset(bytes + 9, ' ', length);
    memcpy(bytes + 9, header, strlen(header));
    for (size_t i = 0; i < data_bytes; i++) {
        bytes[9 + length + i] = (uint8_t)i;
    }
    add(bytes, 9 + length + data_bytes);
}

void fuzz_seeds(fuzz_add_seed add) {
    add_file(add,
             "{\"__metadata__\":{\"format\":\"pt\"},\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":["
             "0,24]},"
             "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}",
             32);
    add_file(add,
             "{\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]},\"e\":{\"dtype\":\"I64\",\"shape\":[0,7],"
             "\"data_offsets\":[2,2]}}",
             2);
    add_file(add, "{\"h\\u00fc\":{\"shape\":[1,1,1,1,1,1,1,8],\"dtype\":\"U8\",\"data_offsets\":[0,8]}}", 8);
    add_file(add, "{}", 0);
    static const char index[] =
        "\3{\"metadata\":{\"total_size\":32},\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}}";
    add(index, sizeof index - 1);
    static const char one[] = "\3{\"weight_map\":{\"x\":\"a.safetensors\"}}";
    add(one, sizeof one - 1);
}
