// TCP between two ends of the same machine.
#include "net.h"

static volatile int pipes;
static void on_pipe(int signal) { pipes++; }

static void states(void) {
    puts("states");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte;
    struct sockaddr_in name;
    socklen_t len = sizeof name;
    SHOW(recv(fd, &byte, 1, 0));
    SHOW(send(fd, "x", 1, MSG_NOSIGNAL));
    SHOW(accept(fd, 0, 0));
    int unused = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(shutdown(unused, SHUT_RDWR));
    close(unused);
    SHOW(getpeername(fd, (struct sockaddr *)&name, &len));
    printf("  poll: %x\n", events_of(fd, POLLIN | POLLOUT));
    SHOW(bind_to(fd, 0));
    SHOW(bind_to(fd, 0));
    SHOW(listen(fd, 5));
    SHOW(listen(fd, 7));
    SHOW(connect_to(fd, port_of(fd)));
    SHOW(recv(fd, &byte, 1, 0));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    SHOW(accept(fd, 0, 0));
    SHOW(accept4(fd, 0, 0, 12345));
    int other = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(bind_to(other, port_of(fd)));
    close(fd);
    SHOW(connect_to(other, 1));
    close(other);
    SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    SHOW(socket(AF_INET, SOCK_SEQPACKET, 0));
    SHOW(socket(99, SOCK_STREAM, 0));
    int pair[2];
    SHOW(socketpair(AF_INET, SOCK_STREAM, 0, pair));
    SHOW(bind(1234, 0, 0));
    SHOW(listen(1, 1));
}

static void transfer(void) {
    puts("transfer");
    int ends[2];
    connected(ends);
    char bytes[16] = "";
    SHOW(send(ends[0], "hello", 5, 0));
    await(ends[1], POLLIN);
    SHOW(recv(ends[1], bytes, 16, MSG_PEEK));
    int waiting = 0;
    SHOW(ioctl(ends[1], FIONREAD, &waiting));
    printf("  waiting: %d\n", waiting);
    SHOW(recv(ends[1], bytes, 2, 0));
    SHOW(recv(ends[1], bytes, 16, 0));
    SHOW(recv(ends[1], bytes, 16, MSG_DONTWAIT));
    SHOW(write(ends[1], "abc", 3));
    SHOW(write(ends[1], "def", 3));
    SHOW(recv(ends[0], bytes, 6, MSG_WAITALL));
    printf("  %.6s\n", bytes);
    SHOW(recv(ends[0], bytes, 1, MSG_OOB));
    struct sockaddr_in a, b;
    socklen_t len = sizeof a;
    getsockname(ends[0], (struct sockaddr *)&a, &len);
    getpeername(ends[1], (struct sockaddr *)&b, &len);
    printf("  names agree: %d, family %d, length %d, %s\n", !memcmp(&a, &b, 8), a.sin_family, len, inet_ntoa(a.sin_addr));
    struct iovec pieces[2] = {{"12", 2}, {"345", 3}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    SHOW(sendmsg(ends[0], &message, 0));
    await(ends[1], POLLIN);
    pieces[0].iov_base = bytes, pieces[0].iov_len = 4, pieces[1].iov_base = bytes + 8, pieces[1].iov_len = 4;
    SHOW(recvmsg(ends[1], &message, 0));
    printf("  %.4s %.1s flags %x\n", bytes, bytes + 8, message.msg_flags);
    SHOW(connect_to(ends[0], 1));
    struct timeval soon = {0, 30000};
    SHOW(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
    SHOW(recv(ends[0], bytes, 1, 0));
    close(ends[0]);
    close(ends[1]);
}

static void ends(void) {
    puts("ends");
    int ends[2];
    char bytes[16];
    connected(ends);
    send(ends[0], "last", 4, 0);
    SHOW(shutdown(ends[0], SHUT_WR));
    signal(SIGPIPE, on_pipe);
    SHOW(send(ends[0], "x", 1, 0));
    SHOW(send(ends[0], "x", 1, MSG_NOSIGNAL));
    printf("  SIGPIPE: %d\n", pipes);
    await(ends[1], POLLRDHUP);
    printf("  poll: %x\n", events_of(ends[1], POLLIN | POLLOUT | POLLRDHUP));
    SHOW(recv(ends[1], bytes, 16, 0));
    SHOW(recv(ends[1], bytes, 16, 0));
    SHOW(send(ends[1], "answer", 6, 0));
    await(ends[0], POLLIN);
    SHOW(recv(ends[0], bytes, 16, 0));
    close(ends[1]);
    await(ends[0], POLLHUP);
    printf("  poll: %x\n", events_of(ends[0], POLLIN | POLLOUT | POLLRDHUP));
    SHOW(recv(ends[0], bytes, 16, 0));
    close(ends[0]);

    connected(ends);
    struct linger at_once = {1, 0};
    SHOW(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    close(ends[0]);
    await(ends[1], POLLERR);
    printf("  poll: %x\n", events_of(ends[1], POLLIN | POLLOUT | POLLRDHUP));
    SHOW(recv(ends[1], bytes, 16, 0));
    SHOW(recv(ends[1], bytes, 16, 0));
    SHOW(send(ends[1], "x", 1, MSG_NOSIGNAL));
    close(ends[1]);

    connected(ends);
    close(ends[0]);
    close(ends[1]);
    SHOW(recv(ends[1], bytes, 16, 0));
}

// The peer has closed: the first write is taken, and answered with a reset.
static void late(void) {
    puts("late");
    int ends[2];
    char bytes[16];
    connected(ends);
    send(ends[1], "bye", 3, 0);
    close(ends[1]);
    await(ends[0], POLLRDHUP);
    printf("  poll: %x\n", events_of(ends[0], POLLIN | POLLOUT | POLLRDHUP));
    SHOW(send(ends[0], "too late", 8, MSG_NOSIGNAL));
    await(ends[0], POLLHUP);
    printf("  poll: %x\n", events_of(ends[0], POLLIN | POLLOUT | POLLRDHUP));
    SHOW(recv(ends[0], bytes, 16, 0));
    SHOW(recv(ends[0], bytes, 16, 0));
    SHOW(send(ends[0], "x", 1, MSG_NOSIGNAL));
    SHOW(send(ends[0], "x", 1, MSG_NOSIGNAL));
    SHOW(error_of(ends[0]));
    close(ends[0]);

    connected(ends);
    close(ends[1]);
    await(ends[0], POLLRDHUP);
    SHOW(send(ends[0], "too late", 8, MSG_NOSIGNAL));
    await(ends[0], POLLHUP);
    SHOW(error_of(ends[0]));
    SHOW(send(ends[0], "x", 1, MSG_NOSIGNAL));
    printf("  poll: %x\n", events_of(ends[0], POLLIN | POLLOUT | POLLRDHUP));
    close(ends[0]);
}

static void connecting(void) {
    puts("connecting");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int server = listener(), port = port_of(server);
    int result = connect_to(fd, port);
    printf("  connects: %d\n", result == 0 || errno == EINPROGRESS);
    printf("  writable: %x, error %d\n", await(fd, POLLOUT), error_of(fd));
    // Linux may report the success of the first attempt once more.
    connect_to(fd, port);
    SHOW(connect_to(fd, port));
    printf("  acceptable: %x\n", await(server, POLLIN));
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    int accepted = accept4(server, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    printf("  flags %x %x, peer %d\n", fcntl(accepted, F_GETFL), fcntl(accepted, F_GETFD), ntohs(peer.sin_port) == port_of(fd));
    len = 4;
    SHOW(getpeername(accepted, (struct sockaddr *)&peer, &len));
    printf("  length %d\n", len);
    close(server);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect_to(other, port));
    SHOW(error_of(other));
    struct sockaddr none = {.sa_family = AF_UNIX};
    SHOW(connect(other, &none, 2) && 1);
    close(fd), close(accepted), close(other);
}

static void *echo(void *argument) {
    int fd = *(int *)argument;
    char bytes[3000];
    long count;
    while ((count = read(fd, bytes, sizeof bytes)) > 0)
        write(fd, bytes, count);
    shutdown(fd, SHUT_WR);
    return 0;
}

static void *send_all(void *argument) {
    static char all[1 << 20];
    for (int i = 0; i < sizeof all; i++)
        all[i] = i * 7 >> 2;
    int fd = *(int *)argument;
    printf("  wrote %ld\n", (long)write(fd, all, sizeof all));
    shutdown(fd, SHUT_WR);
    return 0;
}

static void pressure(void) {
    puts("pressure");
    int ends[2];
    connected(ends);
    pthread_t echoer, sender;
    pthread_create(&echoer, 0, echo, &ends[1]);
    pthread_create(&sender, 0, send_all, &ends[0]);
    long total = 0, wrong = 0;
    static unsigned char bytes[10000];
    long count;
    while ((count = read(ends[0], bytes, sizeof bytes)) > 0)
        for (long i = 0; i < count; i++, total++)
            wrong += bytes[i] != (unsigned char)((int)total * 7 >> 2);
    pthread_join(sender, 0);
    pthread_join(echoer, 0);
    printf("  read %ld, wrong %ld\n", total, wrong);
    close(ends[0]), close(ends[1]);
}

static void six(void) {
    puts("six");
    int server = socket(AF_INET6, SOCK_STREAM, 0), off = 0;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6}, name;
    SHOW(setsockopt(server, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off));
    SHOW(bind(server, (struct sockaddr *)&any, sizeof any));
    SHOW(listen(server, 3));
    socklen_t len = sizeof name;
    getsockname(server, (struct sockaddr *)&name, &len);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect_to(fd, ntohs(name.sin6_port)));
    int accepted = accept(server, (struct sockaddr *)&name, &len);
    char text[64];
    printf("  peer %s, length %d\n", inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof text), len);
    getsockname(accepted, (struct sockaddr *)&name, &len);
    printf("  own %s\n", inet_ntop(AF_INET6, &name.sin6_addr, text, sizeof text));
    name.sin6_addr = in6addr_loopback;
    int third = socket(AF_INET6, SOCK_STREAM, 0);
    SHOW(connect(third, (struct sockaddr *)&name, sizeof name));
    close(fd), close(accepted), close(third), close(server);
}

int main(void) {
    states();
    transfer();
    ends();
    late();
    connecting();
    pressure();
    six();
    return 0;
}
