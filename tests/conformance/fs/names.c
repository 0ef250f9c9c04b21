// Names: directories, hard and symbolic links, renaming, listings, the working directory.
#include "check.h"

static long links_of(const char *path) {
    struct stat status;
    return lstat(path, &status) ? -1 : (long)status.st_nlink;
}

static void directories(void) {
    title("directories");
    SHOW(mkdir("d", 0777));
    SHOW(mkdir("d", 0777));
    SHOW(mkdir("d/e/f", 0777));
    SHOW(mkdir("d/e/", 0700));
    SHOW(mkdir("/", 0700));
    SHOW(mkdir(".", 0700));
    printf("  links %ld %ld\n", links_of("d"), links_of("d/e"));
    SHOW(rmdir("d"));
    SHOW(rmdir("d/e/."));
    SHOW(rmdir("d/e/.."));
    SHOW(rmdir("/"));
    SHOW(unlink("d/e"));
    SHOW(unlink("d/e/"));
    put("d/f", "x");
    SHOW(rmdir("d/f"));
    SHOW(unlink("d/f/"));
    SHOW(unlinkat(AT_FDCWD, "d/f", AT_REMOVEDIR));
    SHOW(unlinkat(AT_FDCWD, "d/f", 0x8000));
    SHOW(unlink("d/f"));
    SHOW(unlink("d/f"));
    SHOW(rmdir("d/e"));
    printf("  links %ld\n", links_of("d"));
    SHOW(rmdir("d/"));
    SHOW(rmdir("d"));
}

static void linking(void) {
    title("linking");
    put("one", "shared");
    SHOW(link("one", "two"));
    SHOW(link("one", "two"));
    SHOW(link("none", "three"));
    SHOW(link(".", "three"));
    SHOW(link("one", "three/"));
    printf("  links %ld\n", links_of("one"));
    SHOW(symlink("one", "soft"));
    SHOW(symlink("", "empty"));
    SHOW(symlink("x", "soft"));
    SHOW(link("soft", "soft2"));
    printf("  links %ld\n", links_of("soft"));
    SHOW(linkat(AT_FDCWD, "soft", AT_FDCWD, "three", AT_SYMLINK_FOLLOW));
    printf("  links %ld\n", links_of("one"));
    char text[10];
    SHOW(readlink("soft", text, 2));
    SHOW(readlink("soft", text, 10));
    SHOW(readlink("one", text, 10));
    SHOW(readlink("soft", text, 0));
    SHOW(readlink("none", text, 10));
    put("two", "changed");
    show_file("three");
    list(".");
    for (const char *const *name = (const char *[]){"one", "two", "three", "soft", "soft2", NULL}; *name; name++)
        SHOW(unlink(*name));
}

static void renaming(void) {
    title("renaming");
    put("a", "A");
    put("b", "B");
    NEED(mkdir("d", 0700));
    NEED(mkdir("d/sub", 0700));
    NEED(mkdir("empty", 0700));
    SHOW(rename("none", "x"));
    SHOW(rename("a", "a"));
    SHOW(rename("a", "b"));
    show_file("b");
    SHOW(rename("b", "d"));
    SHOW(rename("d", "b"));
    SHOW(rename("d", "d/sub/x"));
    SHOW(rename("d", "d"));
    SHOW(rename("empty", "d"));
    SHOW(rename("d", "empty"));
    list(".");
    SHOW(rename("b", "empty/b/"));
    SHOW(rename("b/", "c"));
    SHOW(rename("b", "empty/sub/b"));
    show_file("empty/sub/b");
    SHOW(rename(".", "x"));
    SHOW(rename("empty/sub/..", "x"));
    put("x", "X");
    put("y", "Y");
    SHOW(renameat2(AT_FDCWD, "x", AT_FDCWD, "y", 1));
    SHOW(renameat2(AT_FDCWD, "x", AT_FDCWD, "z", 2));
    SHOW(renameat2(AT_FDCWD, "x", AT_FDCWD, "y", 2));
    SHOW(renameat2(AT_FDCWD, "x", AT_FDCWD, "y", 3));
    SHOW(renameat2(AT_FDCWD, "x", AT_FDCWD, "empty", 2));
    show_file("y");
    list(".");
    show_file("empty");
    NEED(link("y", "y2"));
    SHOW(rename("y", "y2"));
    list(".");
    SHOW(rename("x/", "moved/"));
    list("moved");
    for (const char *const *name = (const char *[]){"y", "y2", "empty", "moved/sub/b", NULL}; *name; name++) NEED(unlink(*name));
    NEED(rmdir("moved/sub"));
    NEED(rmdir("moved"));
}

static void listings(void) {
    title("listings");
    NEED(mkdir("many", 0700));
    for (int at = 0; at < 200; at++) {
        char name[40];
        sprintf(name, "many/name-%03d", at);
        put(name, "");
    }
    // Removing while reading must neither skip nor repeat what stays.
    DIR *directory = opendir("many");
    int seen = 0, dots = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat status;
        if (entry->d_name[0] == '.') {
            dots++;
            continue;
        }
        NEED(fstatat(dirfd(directory), entry->d_name, &status, 0));
        if (status.st_ino != entry->d_ino) printf("  inode numbers differ\n");
        NEED(unlinkat(dirfd(directory), entry->d_name, 0));
        seen++;
    }
    printf("  %d files, %d dots\n", seen, dots);
    rewinddir(directory);
    put("many/late", "");
    seen = 0;
    while (readdir(directory)) seen++;
    printf("  %d entries\n", seen);
    closedir(directory);
    NEED(unlink("many/late"));
    int fd = NEED(open("many", O_RDONLY));
    char buffer[10];
    SHOW(getdents64(fd, buffer, sizeof buffer));
    SHOW(getdents64(STDIN_FILENO + 100, buffer, sizeof buffer));
    NEED(rmdir("many"));
    close(fd);
}

static void working_directory(void) {
    title("working directory");
    char text[200];
    NEED(mkdir("w", 0700));
    NEED(mkdir("w/in", 0700));
    NEED(symlink("w/in", "s"));
    SHOW(chdir("s"));
    NEED(getcwd(text, sizeof text) ? 0 : -1);
    printf("  %s\n", text + strlen(scratch));
    errno = 0;
    printf("  %s %s\n", getcwd(text, 5) ? text : "NULL", strerrorname_np(errno));
    SHOW(chdir("../../w"));
    NEED(getcwd(text, sizeof text) ? 0 : -1);
    printf("  %s\n", text + strlen(scratch));
    int fd = NEED(open(".", O_RDONLY));
    SHOW(chdir(scratch));
    NEED(rename("w", "v"));
    SHOW(fchdir(fd));
    NEED(getcwd(text, sizeof text) ? 0 : -1);
    printf("  %s\n", text + strlen(scratch));
    SHOW(chdir("none"));
    put("file", "");
    SHOW(chdir("file"));
    SHOW(chdir("in"));
    NEED(rmdir("../in"));
    printf("  %s\n", syscall(79, text, sizeof text) == -1 ? strerrorname_np(errno) : "still there");
    SHOW(open("x", O_RDWR | O_CREAT, 0600));
    SHOW(chdir(".."));
    SHOW(unlink("file"));
    SHOW(chdir(scratch));
    SHOW(rmdir("v"));
    SHOW(unlink("s"));
}

int main(void) {
    enter_scratch();
    directories();
    linking();
    renaming();
    listings();
    working_directory();
    leave_scratch();
}
