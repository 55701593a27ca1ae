#include "weights/remove.h"

#include "base/error.h"
#include "base/memory.h"
#include "weights/hf_cache.h"
#include "weights/hub_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 4

typedef struct removing {
    char *folder; /* of the repository */
    char *locks;  /* of its locks */
    tmb_removal *out;
    tmb_status status;
    tmb_error *error;
} removing;

static void fail(removing *r, const char *path) {
    if (r->status == TMB_OK) {
        r->status = tmb_fail(r->error, TMB_ERROR_IO, "%.300s: cannot be removed: %s", path, strerror(errno));
    }
}

static void remove_file(removing *r, const char *path) {
    struct stat about;
    if (lstat(path, &about) != 0) {
        return;
    }
    if (unlink(path) != 0) {
        fail(r, path);
        return;
    }
    r->out->files++;
    r->out->bytes += S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0;
}

/* Calls back for each entry of a folder but "." and "..". */
static void each_entry(const char *folder, void (*each)(void *user, const char *path, const char *name), void *user) {
    DIR *open_folder = opendir(folder);
    struct dirent *entry;
    while (open_folder != NULL && (entry = readdir(open_folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        char *path = tmb_asprintf("%s/%s", folder, entry->d_name);
        if (path != NULL) {
            each(user, path, entry->d_name);
        }
        free(path);
    }
    if (open_folder != NULL) {
        (void)closedir(open_folder);
    }
}

static bool is_folder(const char *path) {
    struct stat about;
    return lstat(path, &about) == 0 && S_ISDIR(about.st_mode); /* a link to a folder is a link */
}

/* The links of one snapshot that timbre made: to a blob, under a name that it reads. */
typedef struct walk {
    removing *r;
    int depth;
} walk;

static bool leads_to_blob(const char *path) {
    char target[4096];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) {
        return false;
    }
    target[length] = '\0';
    const char *slash = strrchr(target, '/');
    return slash != NULL && tmb_hf_is_tag(slash + 1) && slash - target >= 6 && strncmp(slash - 6, "/blobs", 6) == 0;
}

static void remove_link(void *user, const char *path, const char *name) {
    walk *w = user;
    if (is_folder(path) && w->depth < DEPTH_MAX) {
        walk below = {.r = w->r, .depth = w->depth + 1};
        each_entry(path, remove_link, &below);
        (void)rmdir(path); /* what others put there keeps it */
    } else if (tmb_hub_is_wanted(name) && leads_to_blob(path)) {
        remove_file(w->r, path);
    } else {
        w->r->out->kept++;
    }
}

/* Whether a link of any snapshot that is left leads to the blob. */
typedef struct question {
    const char *tag;
    bool found;
} question;

static void look_for(void *user, const char *path, const char *name) {
    question *q = user;
    char target[4096];
    (void)name;
    if (is_folder(path)) {
        each_entry(path, look_for, q);
        return;
    }
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0) {
        target[length] = '\0';
        const char *slash = strrchr(target, '/');
        q->found = q->found || strcmp(slash != NULL ? slash + 1 : target, q->tag) == 0;
    }
}

static bool is_used(const removing *r, const char *tag) {
    question q = {.tag = tag};
    char *snapshots = tmb_asprintf("%s/snapshots", r->folder);
    if (snapshots == NULL) {
        return true;
    }
    each_entry(snapshots, look_for, &q);
    free(snapshots);
    return q.found;
}

/* Takes a blob's lock; false: somebody downloads it now. */
static bool take_lock(removing *r, const char *tag) {
    char *path = tmb_asprintf("%s/%s.lock", r->locks, tag);
    int file = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    bool taken = file < 0 || flock(file, LOCK_EX | LOCK_NB) == 0;
    if (file >= 0 && taken) {
        (void)unlink(path);
    }
    if (file >= 0) {
        (void)close(file);
    }
    free(path);
    return taken;
}

static void remove_blob(void *user, const char *path, const char *name) {
    removing *r = user;
    char tag[72];
    size_t length = strcspn(name, ".");
    if (length >= sizeof tag || (name[length] != '\0' && strcmp(name + length, ".incomplete") != 0)) {
        r->out->kept++;
        return;
    }
    memcpy(tag, name, length);
    tag[length] = '\0';
    if (!tmb_hf_is_tag(tag)) {
        r->out->kept++;
    } else if (!is_used(r, tag)) {
        if (take_lock(r, tag)) {
            remove_file(r, path);
        } else if (r->status == TMB_OK) {
            r->status = tmb_fail(r->error, TMB_ERROR_IO, "%.300s: is being downloaded now", path);
        }
    }
}

typedef struct each_snapshot {
    removing *r;
    void (*removed)(void *user, const char *snapshot);
    void *user;
} each_snapshot;

static void remove_snapshot(void *user, const char *path, const char *name) {
    each_snapshot *e = user;
    if (!tmb_hf_is_commit(name)) {
        e->r->out->kept++;
        return;
    }
    if (e->removed != NULL) {
        e->removed(e->user, path);
    }
    if (!is_folder(path)) {
        remove_file(e->r, path); /* a link: what it leads to is somebody's */
        return;
    }
    walk w = {.r = e->r};
    each_entry(path, remove_link, &w);
    (void)rmdir(path);
}

/* refs/NAME that names a snapshot which is gone. */
static void remove_reference(void *user, const char *path, const char *name) {
    removing *r = user;
    char commit[64] = "";
    FILE *file = fopen(path, "re");
    (void)name;
    if (file == NULL) {
        return;
    }
    bool read = fgets(commit, sizeof commit, file) != NULL;
    (void)fclose(file);
    commit[strcspn(commit, " \r\n")] = '\0';
    char *snapshot = tmb_asprintf("%s/snapshots/%s", r->folder, commit);
    struct stat about;
    if (read && tmb_hf_is_commit(commit) && snapshot != NULL && lstat(snapshot, &about) != 0) {
        remove_file(r, path);
    }
    free(snapshot);
}

/* Goes through one folder of the repository, which goes too when it is empty then. */
static void clear_part(removing *r, const char *name, void (*each)(void *user, const char *path, const char *name),
                       void *user) {
    char *path = tmb_asprintf("%s/%s", r->folder, name);
    if (path == NULL) {
        r->status = tmb_fail_memory(r->error, "a path", 0);
        return;
    }
    each_entry(path, each, user);
    (void)rmdir(path);
    free(path);
}

tmb_status tmb_remove_repository(const char *hub, const char *repository,
                                 void (*removed)(void *user, const char *snapshot), void *user, tmb_removal *out,
                                 tmb_error *error) {
    removing r = {.out = out, .error = error};
    r.status = tmb_hf_repository_folder(hub, repository, &r.folder, error);
    if (r.status != TMB_OK) {
        return r.status;
    }
    r.locks = tmb_asprintf("%s/.locks%s", hub, strrchr(r.folder, '/'));
    struct stat about;
    if (r.locks == NULL) {
        r.status = tmb_fail_memory(error, "a path", 0);
    } else if (stat(r.folder, &about) != 0 || !S_ISDIR(about.st_mode)) {
        r.status = tmb_fail(error, TMB_ERROR_MODEL, "%s is not in %s: there is nothing to remove", repository, hub);
    } else {
        each_snapshot snapshots = {.r = &r, .removed = removed, .user = user};
        clear_part(&r, "snapshots", remove_snapshot, &snapshots);
        clear_part(&r, "blobs", remove_blob, &r);
        clear_part(&r, "refs", remove_reference, &r);
        (void)rmdir(r.folder);
        (void)rmdir(r.locks);
    }
    free(r.folder);
    free(r.locks);
    return r.status;
}
