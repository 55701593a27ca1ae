/* Any bytes as a tar.gz archive: as they are, or as a tar that is compressed first, so that the compressed data's CRC
 * does not keep everything out. Limits hold whatever comes. */
#include "fuzz.h"

#include "../unit/tar_writer.h"
#include "weights/tar_gz.h"

static void read_archive(const unsigned char *bytes, size_t size) {
    static const tmb_tar_gz_limits limits = {.total_bytes = 1 << 20, .member_bytes = 1 << 16, .members = 50};
    tmb_tar_gz *archive = NULL;
    tmb_error error = {0};
    fuzz_check(tmb_tar_gz_open_memory(bytes, size, &limits, &archive, &error) == TMB_OK);
    size_t members = 0;
    for (;;) {
        tmb_tar_gz_member member;
        bool found = false;
        tmb_status status = tmb_tar_gz_next(archive, &member, &found, &error);
        if (status != TMB_OK) {
            fuzz_check(error.status == status && error.message[0] != '\0');
            break;
        }
        if (!found) {
            break;
        }
        fuzz_check(++members <= limits.members);
        fuzz_check(member.path[0] != '\0' && strlen(member.path) < sizeof member.path &&
                   member.size <= limits.member_bytes);
        if (members % 3 != 0) { /* every third is passed over */
            unsigned char *content = malloc(member.size + 1);
            status = tmb_tar_gz_read(archive, content, member.size, &error);
            free(content);
            if (status != TMB_OK) {
                break;
            }
        }
    }
    tmb_tar_gz_close(&archive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_archive(data, size);
    tar_writer tar = {NULL, 0};
    tar_append(&tar, data, size);
    tar_end(&tar);
    size_t compressed = 0;
    unsigned char *bytes = tar_compress(&tar, 1, &compressed);
    read_archive(bytes, compressed);
    free(bytes);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    tar_writer tar = {NULL, 0};
    tar_member(&tar, "folder/", '5', NULL, 0);
    tar_member(&tar, "name", 'L', "a longer name", 14);
    tar_member(&tar, "a", '0', "content", 7);
    tar_member(&tar, "pax", 'x', "21 path=pax/the name\n", 21);
    tar_member(&tar, "b", '0', "more", 4);
    tar_end(&tar);
    add(tar.bytes, tar.size);
    size_t size = 0;
    unsigned char *bytes = tar_compress(&tar, 6, &size);
    add(bytes, size);
    free(bytes);
}
