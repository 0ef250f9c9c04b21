// Opening: flags, what must exist and what must not, links at the end of paths.
#include "check.h"

static void creation(void) {
    title("creation");
    SHOW(open("none", O_RDONLY));
    int fd = NEED(open("f", O_RDWR | O_CREAT | O_EXCL, 0666));
    struct stat status;
    NEED(fstat(fd, &status));
    printf("  mode %o links %ld size %ld\n", status.st_mode, (long)status.st_nlink, (long)status.st_size);
    SHOW(open("f", O_RDWR | O_CREAT | O_EXCL, 0666));
    SHOW(open("f", O_RDONLY | O_DIRECTORY));
    SHOW(open("f/", O_RDONLY));
    SHOW(open("f/x", O_RDONLY));
    SHOW(open("new/", O_RDWR | O_CREAT, 0600));
    SHOW(open("", O_RDONLY));
    SHOW(write(fd, "hello", 5));
    printf("  flags %o\n", fcntl(fd, F_GETFL));
    int again = NEED(open("f", O_WRONLY | O_TRUNC | O_APPEND));
    printf("  flags %o\n", fcntl(again, F_GETFL));
    NEED(fstat(fd, &status));
    printf("  size %ld\n", (long)status.st_size);
    char byte;
    SHOW(read(again, &byte, 1));
    SHOW(write(again, "abc", 3));
    SHOW(pread(fd, &byte, 1, 2));
    printf("  byte %c\n", byte);
    close(again);
    int reader = NEED(open("f", O_RDONLY));
    SHOW(write(reader, "x", 1));
    SHOW(ftruncate(reader, 0));
    close(reader);
    close(fd);
    SHOW(close(fd));
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    SHOW(open(name, O_RDWR | O_CREAT, 0600));
    name[255] = 0;
    fd = SHOW(open(name, O_RDWR | O_CREAT, 0600)) >= 0;
    SHOW(unlink(name));
    SHOW(unlink("f"));
}

static void directories(void) {
    title("directories");
    NEED(mkdir("d", 0777));
    SHOW(open("d", O_RDWR));
    SHOW(open("d", O_RDONLY | O_CREAT, 0600));
    SHOW(open("d", O_WRONLY));
    int fd = NEED(open("d", O_RDONLY));
    char byte;
    SHOW(read(fd, &byte, 1));
    SHOW(write(fd, &byte, 1));
    SHOW(pread(fd, &byte, 1, 0));
    SHOW(ftruncate(fd, 0));
    SHOW(openat(fd, "inner", O_RDWR | O_CREAT, 0600) >= 0);
    SHOW(openat(fd, "../d/inner", O_RDONLY) >= 0);
    SHOW(openat(999, "inner", O_RDONLY));
    int file = NEED(open("d/inner", O_RDONLY));
    SHOW(openat(file, "x", O_RDONLY));
    char path[200];
    snprintf(path, sizeof path, "%s/d/inner", scratch);
    SHOW(openat(999, path, O_RDONLY) >= 0);
    SHOW(unlinkat(fd, "inner", 0));
    SHOW(rmdir("d"));
    SHOW(openat(fd, "inner", O_RDWR | O_CREAT, 0600));
    SHOW(openat(fd, ".", O_RDONLY) >= 0);
}

static void links(void) {
    title("links");
    put("target", "text");
    NEED(symlink("target", "link"));
    NEED(symlink("missing", "dangling"));
    NEED(symlink("loop", "loop"));
    SHOW(open("link", O_RDONLY) >= 0);
    SHOW(open("link", O_RDONLY | O_NOFOLLOW));
    SHOW(open("link", O_RDWR | O_CREAT | O_EXCL, 0600));
    SHOW(open("dangling", O_RDONLY));
    SHOW(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600));
    SHOW(open("dangling", O_RDWR | O_CREAT, 0600) >= 0);
    list(".");
    SHOW(open("loop", O_RDONLY));
    SHOW(open("loop", O_RDONLY | O_CREAT, 0600));
    int path = NEED(open("link", O_PATH | O_NOFOLLOW));
    struct stat status;
    NEED(fstat(path, &status));
    printf("  mode %o size %ld\n", status.st_mode, (long)status.st_size);
    char text[20] = "";
    SHOW(readlinkat(path, "", text, sizeof text));
    printf("  text %s\n", text);
    SHOW(read(path, text, 1));
    SHOW(fchmod(path, 0600));
    printf("  flags %o\n", fcntl(path, F_GETFL));
    for (const char *const *name = (const char *[]){"target", "link", "dangling", "loop", "missing", NULL}; *name; name++)
        NEED(unlink(*name));
}

static void unnamed(void) {
    title("unnamed");
    SHOW(open(".", O_TMPFILE | O_RDONLY, 0600));
    int fd = NEED(open(".", O_TMPFILE | O_RDWR, 0600));
    struct stat status;
    NEED(fstat(fd, &status));
    printf("  mode %o links %ld\n", status.st_mode, (long)status.st_nlink);
    SHOW(write(fd, "data", 4));
    list(".");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    show_file("named");
    NEED(fstat(fd, &status));
    printf("  links %ld\n", (long)status.st_nlink);
    NEED(unlink("named"));
    put("gone", "still there");
    fd = NEED(open("gone", O_RDWR));
    NEED(unlink("gone"));
    char text[20] = "";
    SHOW(pread(fd, text, 20, 0));
    printf("  %s\n", text);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    char shown[200] = "";
    NEED(readlink(path, shown, sizeof shown - 1));
    printf("  %s\n", shown + strlen(scratch));
    int reopened = NEED(open(path, O_RDONLY));
    SHOW(read(reopened, text, 5));
}

int main(void) {
    enter_scratch();
    creation();
    directories();
    links();
    unnamed();
    leave_scratch();
}
