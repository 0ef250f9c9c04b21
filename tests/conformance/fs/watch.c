// inotify: which events, in which order, with which names.
#include "check.h"
#include <poll.h>
#include <sys/inotify.h>

static int instance, last_cookie;

static void heard(const char *what) {
    static char buffer[65536] __attribute__((aligned(8)));
    printf("  after %s:\n", what);
    for (long len; (len = read(instance, buffer, sizeof buffer)) > 0;)
        for (char *at = buffer; at < buffer + len;) {
            struct inotify_event *event = (struct inotify_event *)at;
            const char *cookie = !event->cookie ? "" : event->cookie == last_cookie ? " same" : " new";
            last_cookie = event->cookie;
            printf("    watch %d mask %x%s len %d %s\n", event->wd, event->mask, cookie, event->len,
                   event->len ? event->name : "");
            at += sizeof *event + event->len;
        }
}

int main(void) {
    enter_scratch();
    NEED(mkdir("d", 0700));
    put("d/old", "x");
    instance = NEED(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    char byte;
    SHOW(read(instance, &byte, 1));
    SHOW(inotify_add_watch(instance, "none", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(instance, "d", 0));
    SHOW(inotify_add_watch(instance, "d/old", IN_ALL_EVENTS | IN_ONLYDIR));
    SHOW(inotify_add_watch(999, "d", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(0, "d", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(instance, "d", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(instance, "d", IN_ALL_EVENTS | IN_MASK_CREATE));
    put("d/a-file-with-a-long-name", "content");
    SHOW(read(instance, &byte, 1));
    struct pollfd wait = {instance, POLLIN};
    SHOW(poll(&wait, 1, 0));
    heard("creation");
    NEED(rename("d/a-file-with-a-long-name", "d/b"));
    heard("renaming");
    NEED(rename("d/b", "b"));
    NEED(rename("b", "d/c"));
    heard("moving out and in");
    NEED(chmod("d/c", 0600));
    NEED(truncate("d/c", 3));
    NEED(utimensat(AT_FDCWD, "d/c", NULL, 0));
    heard("attributes");
    int fd = NEED(open("d/c", O_RDWR));
    NEED(read(fd, &byte, 1));
    NEED(write(fd, "1", 1));
    NEED(write(fd, "2", 1));
    close(fd);
    heard("reading and writing");
    SHOW(inotify_add_watch(instance, "d/c", IN_ALL_EVENTS));
    NEED(link("d/c", "d/e"));
    heard("linking");
    NEED(unlink("d/e"));
    NEED(unlink("d/c"));
    heard("unlinking");
    NEED(mkdir("d/sub", 0700));
    NEED(rmdir("d/sub"));
    heard("directories");
    SHOW(inotify_add_watch(instance, "d/old", IN_OPEN | IN_ONESHOT));
    show_file("d/old");
    show_file("d/old");
    heard("one shot");
    int two = SHOW(inotify_add_watch(instance, "d/old", IN_MODIFY));
    SHOW(inotify_rm_watch(instance, two));
    SHOW(inotify_rm_watch(instance, two));
    heard("removal of a watch");
    NEED(unlink("d/old"));
    NEED(rename("d", "moved"));
    NEED(rmdir("moved"));
    heard("the end");
    close(instance);
    leave_scratch();
}
