// Attributes: stat and its variants, modes, owners, times, access, statfs.
#include "check.h"
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

static void show_stat(const char *what, const struct stat *status) {
    printf("  %s: mode %o links %ld size %ld blksize %ld rdev %u:%u\n", what, status->st_mode, (long)status->st_nlink,
           (long)status->st_size, (long)status->st_blksize, major(status->st_rdev), minor(status->st_rdev));
}

static void variants(void) {
    title("variants");
    struct stat status;
    struct statx extended;
    put("f", "12345");
    NEED(symlink("f", "l"));
    NEED(stat("l", &status));
    show_stat("stat", &status);
    NEED(lstat("l", &status));
    show_stat("lstat", &status);
    int fd = NEED(open("f", O_RDONLY));
    NEED(fstatat(fd, "", &status, AT_EMPTY_PATH));
    show_stat("empty path", &status);
    SHOW(fstatat(fd, "", &status, 0));
    SHOW(fstatat(AT_FDCWD, "f", &status, 0x8));
    SHOW(fstatat(fd, "x", &status, 0));
    SHOW(stat("none", &status));
    SHOW(stat("f/", &status));
    NEED(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_ALL, &extended));
    printf("  statx mode %o size %ld links %d\n", extended.stx_mode, (long)extended.stx_size, extended.stx_nlink);
    NEED(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended));
    printf("  statx mode %o size %ld basic %x\n", extended.stx_mode, (long)extended.stx_size, extended.stx_mask & 0x7ff);
    printf("  %s\n", extended.stx_ino == status.st_ino || extended.stx_ino ? "number" : "no number");
    SHOW(statx(AT_FDCWD, "f", 0x6000, STATX_ALL, &extended));
    SHOW(statx(AT_FDCWD, "f", 0, 0x80000000, &extended));
    SHOW(fstat(999, &status));
    NEED(stat("/dev/null", &status));
    show_stat("null", &status);
    NEED(stat(".", &status));
    printf("  directory mode %o links %ld\n", status.st_mode, (long)status.st_nlink);
    close(fd);
}

static void modes(void) {
    title("modes");
    struct stat status;
    SHOW(chmod("f", 04751));
    NEED(stat("f", &status));
    printf("  %o\n", status.st_mode);
    int fd = NEED(open("f", O_RDONLY));
    SHOW(fchmod(fd, 0640));
    SHOW(fchmodat(AT_FDCWD, "l", 0600, 0));
    SHOW(syscall(452, AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
    SHOW(syscall(452, AT_FDCWD, "l", 0600, 0));
    SHOW(syscall(452, AT_FDCWD, "l", 0600, 1));
    NEED(stat("f", &status));
    printf("  %o\n", status.st_mode);
    SHOW(chmod("none", 0600));
    SHOW(fchmod(999, 0600));
    SHOW(chown("f", 12, 34));
    SHOW(lchown("l", 1, 2));
    SHOW(fchown(fd, -1, 56));
    NEED(stat("f", &status));
    printf("  %d %d\n", status.st_uid, status.st_gid);
    NEED(lstat("l", &status));
    printf("  %d %d\n", status.st_uid, status.st_gid);
    printf("  mask %o", umask(077));
    printf(" %o\n", umask(022));
    umask(0);
    NEED(mkdir("d", 01777));
    umask(022);
    NEED(stat("d", &status));
    printf("  %o\n", status.st_mode);
    SHOW(access("f", F_OK));
    SHOW(access("f", R_OK | W_OK));
    SHOW(access("f", X_OK));
    SHOW(access("d", X_OK));
    SHOW(access("none", F_OK));
    SHOW(access("f", 9));
    SHOW(faccessat(AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
    SHOW(rmdir("d"));
    close(fd);
}

static void show_times(const char *path) {
    struct stat status;
    NEED(lstat(path, &status));
    printf("  %s: %ld.%09ld %ld.%09ld\n", path, (long)status.st_atim.tv_sec, status.st_atim.tv_nsec,
           (long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

static void times(void) {
    title("times");
    struct timespec given[2] = {{1000, 5}, {2000, 6}};
    SHOW(utimensat(AT_FDCWD, "f", given, 0));
    show_times("f");
    given[0].tv_nsec = UTIME_OMIT;
    given[1].tv_sec = 3000;
    SHOW(utimensat(AT_FDCWD, "l", given, AT_SYMLINK_NOFOLLOW));
    SHOW(utimensat(AT_FDCWD, "f", given, 0));
    show_times("f");
    given[1].tv_nsec = 2000000000;
    SHOW(utimensat(AT_FDCWD, "f", given, 0));
    SHOW(utimes("f", (struct timeval[2]){{1, 2}, {3, 4}}));
    show_times("f");
    SHOW(utime("f", &(struct utimbuf){5, 6}));
    show_times("f");
    int fd = NEED(open("f", O_RDWR));
    SHOW(futimens(fd, (struct timespec[2]){{7, 8}, {9, 10}}));
    show_times("f");
    struct stat before, after;
    NEED(fstat(fd, &before));
    NEED(write(fd, "x", 1));
    NEED(fstat(fd, &after));
    printf("  %s\n", after.st_mtim.tv_sec > before.st_mtim.tv_sec && after.st_atim.tv_sec == 7 ? "written" : "not noted");
    SHOW(utimensat(AT_FDCWD, "none", NULL, 0));
    close(fd);
    NEED(stat(".", &before));
    usleep(20000);
    put("new", "");
    NEED(stat(".", &after));
    printf("  %s\n", memcmp(&before.st_mtim, &after.st_mtim, sizeof after.st_mtim) ? "directory changed" : "directory same");
    NEED(unlink("new"));
}

static void file_systems(void) {
    title("file systems");
    struct statfs status;
    NEED(statfs(".", &status));
    printf("  type %lx block %ld name %ld %s\n", (long)status.f_type, (long)status.f_bsize, (long)status.f_namelen,
           status.f_blocks > 0 && status.f_bfree > 0 ? "room" : "no room");
    NEED(statfs("/proc", &status));
    printf("  type %lx\n", (long)status.f_type);
    NEED(statfs("/sys", &status));
    printf("  type %lx\n", (long)status.f_type);
    SHOW(statfs("none", &status));
    int fd = NEED(open("f", O_RDONLY));
    SHOW(fstatfs(fd, &status));
    char value[10];
    SHOW(fgetxattr(fd, "user.none", value, 10) == -1);
    NEED(unlink("f"));
    NEED(unlink("l"));
}

int main(void) {
    enter_scratch();
    variants();
    modes();
    times();
    file_systems();
    leave_scratch();
}
