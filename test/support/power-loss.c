// Loaded before libc (LD_PRELOAD): keeps under POWER_LOSS_KEPT what of the folder POWER_LOSS_FOLDER a program has
// made durable, which is what fsync and fdatasync have returned for and nothing else. A file: its bytes at that moment, in
// files/ID. A folder: the names in it at that moment and whom they mean, in folders/ID. Neither tells of the other: a synced
// file without its name in a synced folder is lost. Less is promised here than by any file system (other ways to sync,
// O_DSYNC among them, count for nothing), so what outlives this outlives those.
//
// ID is inode-birth: inodes are used again, births are not.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK 65536
#define FILES 64

/** What was written to a file since it was last kept: only that is read again, a log is large and synced often. */
struct written {
  char id[64];
  off_t from, to;
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static struct written files[FILES];
static int used;
static char now[BLOCK], kept[BLOCK];

static void fail(const char *what) {
  fprintf(stderr, "power-loss: %s: %s\n", what, strerror(errno));
  abort();
}

/** False when it is not there any more. */
static int identify(int folder, const char *name, struct statx *found, char *id) {
  int flags = AT_SYMLINK_NOFOLLOW | (*name == 0 ? AT_EMPTY_PATH : 0);
  if (statx(folder, name, flags, STATX_TYPE | STATX_INO | STATX_BTIME, found) != 0) return 0;
  if (!(found->stx_mask & STATX_BTIME)) fail("the file system knows no births");
  long long birth = found->stx_btime.tv_sec * 1000000000LL + found->stx_btime.tv_nsec;
  sprintf(id, "%llu-%lld", (unsigned long long)found->stx_ino, birth);
  return 1;
}

static struct written *find(const char *id) {
  for (int i = 0; i < used; i++)
    if (strcmp(files[i].id, id) == 0) return &files[i];
  return NULL;
}

static void forget(struct written *file) {
  *file = files[--used];
}

static void keep_file(int fd, const char *path, const char *id) {
  int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (to < 0) fail(path);
  struct written *file = find(id);
  off_t at = file == NULL ? 0 : file->from, end = file == NULL ? -1 : file->to;
  while (end < 0 || at < end) {
    // Through the descriptor that was synced: closing another would drop the process's locks on the file.
    ssize_t read = pread(fd, now, BLOCK, at);
    if (read < 0) fail("pread");
    if (read == 0) break;
    if (pread(to, kept, read, at) != read || memcmp(now, kept, read) != 0)
      if (syscall(SYS_pwrite64, to, now, read, at) != read) fail(path);
    at += read;
  }
  struct stat now_is;
  if (fstat(fd, &now_is) != 0 || syscall(SYS_ftruncate, to, now_is.st_size) != 0) fail(path);
  close(to);
  if (file == NULL && used == FILES) forget(&files[0]);
  if (file == NULL) file = &files[used++];
  *file = (struct written){.from = 0, .to = 0};
  strcpy(file->id, id);
}

static void keep_folder(int fd, const char *path) {
  char other[PATH_MAX + 8], id[64];
  struct statx found;
  snprintf(other, sizeof other, "/proc/self/fd/%d", fd);
  DIR *folder = opendir(other);
  if (folder == NULL) fail(other);
  snprintf(other, sizeof other, "%s.new", path);
  FILE *to = fopen(other, "we");
  if (to == NULL) fail(other);
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (!identify(dirfd(folder), name, &found, id)) continue;
    fprintf(to, "%s %s %s\n", S_ISDIR(found.stx_mode) ? "folder" : "file", id, name);
  }
  closedir(folder);
  if (fclose(to) != 0 || rename(other, path) != 0) fail(path);
}

static int is_watched(int fd) {
  const char *folder = getenv("POWER_LOSS_FOLDER");
  char link[64], target[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (folder == NULL || length < 0) return 0;
  target[length] = 0;
  size_t prefix = strlen(folder);
  return strncmp(target, folder, prefix) == 0 && (target[prefix] == '/' || target[prefix] == 0);
}

static int keep(int fd, int result) {
  int error = errno;
  const char *shadow = getenv("POWER_LOSS_KEPT");
  char path[PATH_MAX], id[64];
  if (result != 0 || shadow == NULL || !is_watched(fd)) return result;
  pthread_mutex_lock(&one_at_a_time);
  struct statx found;
  if (!identify(fd, "", &found, id)) fail("fsync");
  if (S_ISDIR(found.stx_mode)) {
    snprintf(path, sizeof path, "%s/folders/%s", shadow, id);
    keep_folder(fd, path);
  } else {
    snprintf(path, sizeof path, "%s/files/%s", shadow, id);
    keep_file(fd, path, id);
  }
  pthread_mutex_unlock(&one_at_a_time);
  errno = error;
  return result;
}

int fsync(int fd) { return keep(fd, syscall(SYS_fsync, fd)); }

int fdatasync(int fd) { return keep(fd, syscall(SYS_fdatasync, fd)); }

/** What is known of a file, if it is; to be called with the lock. */
static struct written *find_open(int fd) {
  struct statx found;
  char id[64];
  return is_watched(fd) && identify(fd, "", &found, id) ? find(id) : NULL;
}

static void widen(struct written *file, off_t from, off_t to) {
  int is_first = file->from == file->to;
  if (is_first || from < file->from) file->from = from;
  if (is_first || to > file->to) file->to = to;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  pthread_mutex_lock(&one_at_a_time);
  struct written *file = find_open(fd);
  if (file != NULL) widen(file, at, at + count);
  ssize_t result = syscall(SYS_pwrite64, fd, bytes, count, at);
  int error = errno;
  pthread_mutex_unlock(&one_at_a_time);
  errno = error;
  return result;
}

/** In other ways a known file is seldom changed: then all of it is read again. */
static void forget_open(int fd) {
  if (!is_watched(fd)) return;
  int error = errno;
  pthread_mutex_lock(&one_at_a_time);
  struct written *file = find_open(fd);
  if (file != NULL) forget(file);
  pthread_mutex_unlock(&one_at_a_time);
  errno = error;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  forget_open(fd);
  return syscall(SYS_write, fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  forget_open(fd);
  return syscall(SYS_writev, fd, parts, count);
}

int ftruncate64(int fd, off64_t size) {
  forget_open(fd);
  return syscall(SYS_ftruncate, fd, size);
}
