// unix sockets: names, streams, datagrams, packets, files that travel, credentials.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

static char path[80];
static char buffer[70000];

static socklen_t make_address(struct sockaddr_un *address, const char *name) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (name[0] == '@') {
        memcpy(address->sun_path + 1, name + 1, strlen(name) - 1);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    }
    strcpy(address->sun_path, name);
    return sizeof *address;
}
static int bind_to(int fd, const char *name) {
    struct sockaddr_un address;
    socklen_t length = make_address(&address, name);
    return bind(fd, (struct sockaddr *)&address, length);
}
static int connect_to(int fd, const char *name) {
    struct sockaddr_un address;
    socklen_t length = make_address(&address, name);
    return connect(fd, (struct sockaddr *)&address, length);
}
static long send_to(int fd, const char *text, const char *name) {
    struct sockaddr_un address;
    socklen_t length = make_address(&address, name);
    return sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, length);
}
static void show_name(const char *what, int fd, int (*get)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    if (get(fd, (struct sockaddr *)&address, &length) == -1) {
        printf("  %s: %s\n", what, error_name(errno));
        return;
    }
    const char *name = address.sun_path;
    int extra = (int)length - (int)offsetof(struct sockaddr_un, sun_path);
    if (extra <= 0) printf("  %s: unnamed, length %d\n", what, (int)length);
    else if (!name[0]) printf("  %s: @%.*s\n", what, extra - 1, name + 1);
    else printf("  %s: %s, length %s\n", what, strcmp(name, path) ? name : "the path",
                extra == (int)strlen(name) + 1 ? "with its end" : "wrong");
}
static void show_poll(const char *what, int fd) {
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    NEED(poll(&entry, 1, 0));
    printf("  %s: %#x\n", what, entry.revents);
}
static void show_option(const char *what, int fd, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, option, &value, &length) == -1) printf("  %s: %s\n", what, error_name(errno));
    else printf("  %s: %d\n", what, value);
}
static void show_text(const char *what, long count) {
    if (count == -1) printf("  %s: %s\n", what, error_name(errno));
    else printf("  %s: \"%.*s\"\n", what, (int)count, buffer);
    fflush(stdout);
}

static long send_files(int fd, const char *text, const int *fds, int count) {
    union { char bytes[CMSG_SPACE(4 * sizeof(int))]; struct cmsghdr align; } control;
    struct iovec piece = {(void *)(intptr_t)text, strlen(text)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    memset(&control, 0, sizeof control);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    return sendmsg(fd, &message, 0);
}
// Receives; prints text, flags and what came along; returns the first descriptor.
static int receive(const char *what, int fd, size_t length, size_t room, int flags) {
    static char control[256];
    struct iovec piece = {buffer, length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    int first = -1;
    long count = recvmsg(fd, &message, flags);
    if (count == -1) {
        printf("  %s: %s\n", what, error_name(errno));
        return -1;
    }
    printf("  %s: \"%.*s\"", what, (int)count, buffer);
    if (message.msg_flags & MSG_TRUNC) printf(" cut");
    if (message.msg_flags & MSG_CTRUNC) printf(" control cut");
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_type == SCM_RIGHTS) {
            int fds[8], files = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(header), files * sizeof(int));
            printf(" with %d files", files);
            for (int at = 0; at < files; at++) {
                printf(" (close on exec %d)", fcntl(fds[at], F_GETFD));
                if (at == 0) first = fds[at];
                else close(fds[at]);
            }
        } else if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred who;
            memcpy(&who, CMSG_DATA(header), sizeof who);
            printf(" from me %d %d %d", who.pid == getpid(), who.uid == getuid(), who.gid == getgid());
        }
    }
    printf("\n");
    fflush(stdout);
    return first;
}

static void streams(void) {
    title("streams with a path");
    struct stat status;
    int listener = NEED(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)), client = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
    show_poll("new socket", client);
    SHOW(listen(listener, 2));
    SHOW(connect_to(client, path));
    SHOW(bind_to(listener, path));
    SHOW(bind_to(listener, path));
    int other = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(bind_to(other, path));
    close(other);
    NEED(stat(path, &status));
    printf("  is a socket: %d\n", S_ISSOCK(status.st_mode));
    SHOW(open(path, O_RDWR));
    SHOW(connect_to(client, path));
    SHOW(listen(listener, 2));
    SHOW(accept(listener, NULL, NULL));
    show_poll("listener", listener);
    SHOW(connect_to(client, path));
    show_poll("listener, one waiting", listener);
    show_poll("client", client);
    SHOW(connect_to(client, path));
    SHOW(send(client, "early", 5, 0));
    struct sockaddr_un peer;
    socklen_t length = sizeof peer;
    int server = NEED(accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC));
    printf("  accepted, address length %d, close on exec %d\n", (int)length, fcntl(server, F_GETFD));
    show_name("server", server, getsockname);
    show_name("server's peer", server, getpeername);
    show_name("client", client, getsockname);
    show_name("client's peer", client, getpeername);
    show_option("type", client, SO_TYPE);
    show_option("domain", client, SO_DOMAIN);
    show_option("error", client, SO_ERROR);
    show_option("listener accepts", listener, SO_ACCEPTCONN);
    show_option("server accepts", server, SO_ACCEPTCONN);
    int available = 0;
    NEED(ioctl(server, FIONREAD, &available));
    printf("  available %d\n", available);
    show_text("peek", recv(server, buffer, 3, MSG_PEEK));
    show_text("read", recv(server, buffer, 100, 0));
    show_text("nothing", recv(server, buffer, 100, MSG_DONTWAIT));
    NEED(shutdown(client, SHUT_WR));
    show_poll("server, client half closed", server);
    show_text("end", recv(server, buffer, 100, 0));
    SHOW(send(client, "x", 1, MSG_NOSIGNAL));
    SHOW(send(server, "answer", 6, 0));
    close(server);
    show_poll("client, server closed", client);
    show_text("answer", recv(client, buffer, 100, 0));
    show_text("end", recv(client, buffer, 100, 0));
    close(client);
    close(listener);
    client = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(connect_to(client, path));
    unlink(path);
    SHOW(connect_to(client, path));
    close(client);
}

static void abstract_names(void) {
    title("abstract names");
    int listener = NEED(socket(AF_UNIX, SOCK_STREAM, 0)), client = NEED(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    int datagram = NEED(socket(AF_UNIX, SOCK_DGRAM, 0));
    char name[64];
    snprintf(name, sizeof name, "@conformance-%d", (int)getpid());
    SHOW(bind_to(listener, name));
    SHOW(connect_to(client, name));
    SHOW(listen(listener, 0));
    SHOW(connect_to(datagram, name));
    SHOW(connect_to(client, name));
    int second = NEED(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    SHOW(connect_to(second, name));
    close(listener);
    show_text("not accepted", recv(client, buffer, 10, 0));
    show_text("then", recv(client, buffer, 10, 0));
    listener = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
    SHOW(bind_to(listener, name));
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    SHOW(bind(datagram, (struct sockaddr *)&any, sizeof any.sun_family));
    socklen_t length = sizeof any;
    NEED(getsockname(datagram, (struct sockaddr *)&any, &length));
    printf("  chosen name: length %d, abstract %d\n", (int)length, any.sun_path[0] == 0);
    close(listener);
    close(client);
    close(second);
    close(datagram);
    SHOW(socket(AF_UNIX, 9, 0));
    SHOW(socket(AF_UNIX, SOCK_STREAM, 77));
}

static void datagrams(void) {
    title("datagrams");
    int server = NEED(socket(AF_UNIX, SOCK_DGRAM, 0)), client = NEED(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    SHOW(send(client, "x", 1, 0));
    SHOW(send_to(client, "x", path));
    NEED(bind_to(server, path));
    SHOW(listen(server, 1));
    SHOW(send_to(client, "first", path));
    SHOW(connect_to(client, path));
    SHOW(send(client, "", 0, 0));
    SHOW(send(client, "third", 5, 0));
    int available = 0;
    NEED(ioctl(server, FIONREAD, &available));
    printf("  next length %d\n", available);
    receive("cut off", server, 3, 0, 0);
    show_text("empty", recv(server, buffer, 10, 0));
    SHOW(recv(server, buffer, 2, MSG_TRUNC));
    show_text("nothing", recv(server, buffer, 10, MSG_DONTWAIT));
    int count = 0;
    while (send(client, "many", 4, 0) == 4) count++;
    printf("  sent before %s: %d\n", error_name(errno), count);
    show_poll("sender, receiver full", client);
    NEED(recv(server, buffer, 10, 0));
    show_poll("sender, one taken", client);
    close(server);
    SHOW(send(client, "x", 1, 0));
    SHOW(send(client, "x", 1, 0));
    close(client);
    unlink(path);
    int ends[2];
    NEED(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends));
    static char large[300000];
    SHOW(send(ends[0], large, sizeof large, 0));
    SHOW(send(ends[0], large, 100000, 0));
    SHOW(recv(ends[1], large, sizeof large, 0));
    show_poll("pair", ends[0]);
    close(ends[1]);
    show_poll("pair, peer closed", ends[0]);
    SHOW(send(ends[0], "x", 1, 0));
    close(ends[0]);
}

static void packets(void) {
    title("sequences of packets");
    int ends[2];
    NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
    SHOW(send(ends[0], "first", 5, 0));
    SHOW(send(ends[0], "second", 6, 0));
    receive("peek", ends[1], 2, 0, MSG_PEEK);
    receive("cut off", ends[1], 2, 0, 0);
    show_text("whole", recv(ends[1], buffer, 100, 0));
    show_text("nothing", recv(ends[1], buffer, 100, MSG_DONTWAIT));
    SHOW(send(ends[1], "unread", 6, 0));
    close(ends[0]);
    show_poll("peer closed", ends[1]);
    show_text("end", recv(ends[1], buffer, 100, 0));
    SHOW(send(ends[1], "x", 1, MSG_NOSIGNAL));
    close(ends[1]);
    NEED(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
    NEED(send(ends[0], "unread", 6, 0));
    close(ends[1]);
    show_text("peer closed with something unread", recv(ends[0], buffer, 100, 0));
    show_text("then", recv(ends[0], buffer, 100, 0));
    close(ends[0]);
}

static void travelling_files(void) {
    title("files that travel");
    int ends[2], pipes[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    NEED(pipe(pipes));
    SHOW(send(ends[0], "plain ", 6, 0));
    SHOW(send_files(ends[0], "one", &pipes[1], 1));
    SHOW(send(ends[0], " rest", 5, 0));
    close(pipes[1]);
    int writer = receive("first", ends[1], 100, 256, MSG_CMSG_CLOEXEC);
    receive("second", ends[1], 100, 256, 0);
    SHOW(write(writer, "through", 7));
    show_text("pipe", read(pipes[0], buffer, 100));
    close(writer);
    show_text("pipe, all writers closed", read(pipes[0], buffer, 100));
    close(pipes[0]);

    NEED(pipe(pipes));
    int both[2] = {pipes[1], pipes[1]};
    SHOW(send_files(ends[0], "two", both, 2));
    writer = receive("room for one", ends[1], 100, CMSG_SPACE(sizeof(int)), 0);
    close(writer);
    SHOW(send_files(ends[0], "none", both, 2));
    receive("no room", ends[1], 100, 0, 0);
    SHOW(send_files(ends[0], "lost", both, 2));
    close(pipes[1]);
    show_poll("pipe, writers under way", pipes[0]);
    close(ends[1]);
    show_poll("pipe, receiver closed", pipes[0]);
    int closed = pipes[1];
    SHOW(send_files(ends[0], "bad", &closed, 1));
    close(ends[0]);
    close(pipes[0]);

    title("credentials");
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    struct ucred who;
    socklen_t length = sizeof who;
    NEED(getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &who, &length));
    printf("  peer is me: %d %d %d\n", who.pid == getpid(), who.uid == getuid(), who.gid == getgid());
    int on = 1;
    NEED(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    show_option("passes credentials", ends[1], SO_PASSCRED);
    NEED(send(ends[0], "hello", 5, 0));
    receive("hello", ends[1], 100, 256, 0);
    close(ends[0]);
    close(ends[1]);
}

static void *drain_slowly(void *argument) {
    static char pieces[5000];
    long total = 0, count;
    while ((count = recv(*(int *)argument, pieces, sizeof pieces, 0)) > 0) total += count;
    return (void *)total;
}
static void *send_in_parts(void *argument) {
    int fd = *(int *)argument;
    for (int at = 0; at < 3; at++) {
        sleep_ms(30);
        NEED(send(fd, "part ", 5, 0));
    }
    return NULL;
}

static void blocking(void) {
    title("blocking");
    int ends[2];
    pthread_t thread;
    void *total;
    static char large[1000000];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    pthread_create(&thread, NULL, drain_slowly, &ends[1]);
    SHOW(send(ends[0], large, sizeof large, 0));
    NEED(shutdown(ends[0], SHUT_WR));
    pthread_join(thread, &total);
    printf("  received by the other thread: %ld\n", (long)total);
    close(ends[0]);
    close(ends[1]);
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    pthread_create(&thread, NULL, send_in_parts, &ends[0]);
    show_text("waits for all", recv(ends[1], buffer, 15, MSG_WAITALL));
    pthread_join(thread, NULL);
    struct timeval time = {0, 60000};
    NEED(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    int64_t start = now_ms();
    show_text("with a timeout", recv(ends[1], buffer, 10, 0));
    printf("  %s\n", within(now_ms() - start, 55, 1000));
    signal(SIGPIPE, SIG_IGN);
    close(ends[1]);
    SHOW(write(ends[0], "x", 1));
    close(ends[0]);
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    NEED(send(ends[0], "unread", 6, 0));
    NEED(send(ends[1], "last", 4, 0));
    close(ends[1]);
    show_text("reset, but first", recv(ends[0], buffer, 10, 0));
    show_text("reset", recv(ends[0], buffer, 10, 0));
    show_text("then", recv(ends[0], buffer, 10, 0));
    close(ends[0]);
}

int main(void) {
    snprintf(path, sizeof path, "/tmp/conformance-unix-%d", (int)getpid());
    streams();
    abstract_names();
    datagrams();
    packets();
    travelling_files();
    blocking();
    return 0;
}
