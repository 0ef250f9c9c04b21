// What the programs here share: a scratch directory in memory, and printing
// results so that two runs can be compared.
#ifndef CHECK_H
#define CHECK_H
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Prints a call and its result or error.
#define SHOW(call)                                                  \
    ({                                                              \
        errno = 0;                                                  \
        long shown_ = (long)(call);                                 \
        if (shown_ == -1)                                           \
            printf("  %s: %s\n", #call, strerrorname_np(errno));    \
        else                                                        \
            printf("  %s: %ld\n", #call, shown_);                   \
        shown_;                                                     \
    })

// Ends the program if a step that the test rests on fails.
#define NEED(call)                                                          \
    ({                                                                      \
        long needed_ = (long)(call);                                        \
        if (needed_ == -1) {                                                \
            printf("%s failed: %s\n", #call, strerrorname_np(errno));       \
            exit(1);                                                        \
        }                                                                   \
        needed_;                                                            \
    })

__attribute__((unused)) static char scratch[64];

__attribute__((unused)) static void title(const char *text) { printf("%s\n", text); }

// Enters an empty directory on tmpfs.
__attribute__((unused)) static void enter_scratch(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(022);
    strcpy(scratch, "/dev/shm/spore-check-XXXXXX");
    if (!mkdtemp(scratch)) exit(1);
    NEED(chdir(scratch));
}

__attribute__((unused)) static void leave_scratch(void) {
    char command[128];
    NEED(chdir("/"));
    NEED(rmdir(scratch));
}

__attribute__((unused)) static void put(const char *path, const char *text) {
    int fd = NEED(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    NEED(write(fd, text, strlen(text)));
    close(fd);
}

// Prints up to 200 bytes of a file.
__attribute__((unused)) static void show_file(const char *path) {
    char text[201];
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        printf("  %s: %s\n", path, strerrorname_np(errno));
        return;
    }
    long len = read(fd, text, 200);
    printf("  %s: %ld bytes \"%.*s\"\n", path, len, (int)len, text);
    close(fd);
}

__attribute__((unused)) static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Prints the names in a directory, sorted.
__attribute__((unused)) static void list(const char *path) {
    DIR *directory = opendir(path);
    char *names[1000];
    int count = 0;
    if (!directory) {
        printf("  list %s: %s\n", path, strerrorname_np(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        char text[300];
        snprintf(text, sizeof text, "%s(%d)", entry->d_name, entry->d_type);
        names[count++] = strdup(text);
    }
    closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    printf("  list %s:", path);
    for (int at = 0; at < count; at++) printf(" %s", names[at]);
    printf("\n");
}
#endif
