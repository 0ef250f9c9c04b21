// UDP between sockets of the same machine.
#include "net.h"
#include <sys/uio.h>

int main(void) {
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char bytes[64];
    puts("addresses");
    SHOW(bind_to(a, 0));
    SHOW(bind_to(b, port_of(a)));
    printf("  unbound port: %d\n", port_of(b));
    SHOW(send(b, "x", 1, 0));
    SHOW(recv(b, bytes, 1, 0));
    SHOW(listen(a, 1));
    SHOW(accept(a, 0, 0));
    int unused = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(shutdown(unused, SHUT_WR));
    close(unused);
    printf("  poll: %x\n", events_of(b, POLLIN | POLLOUT));
    struct sockaddr_in to = loopback(port_of(a)), from;
    socklen_t len = sizeof from;
    puts("datagrams");
    SHOW(sendto(b, "one", 3, 0, (struct sockaddr *)&to, sizeof to));
    SHOW(sendto(b, "", 0, 0, (struct sockaddr *)&to, sizeof to));
    SHOW(sendto(b, "three!", 6, 0, (struct sockaddr *)&to, sizeof to));
    printf("  bound now: %d\n", port_of(b) > 0);
    int waiting = 0;
    ioctl(a, FIONREAD, &waiting);
    printf("  waiting: %d\n", waiting);
    SHOW(recvfrom(a, bytes, 64, MSG_PEEK, 0, 0));
    SHOW(recvfrom(a, bytes, 64, 0, (struct sockaddr *)&from, &len));
    printf("  from the sender: %d, length %d\n", ntohs(from.sin_port) == port_of(b), len);
    SHOW(recv(a, bytes, 64, 0));
    SHOW(recv(a, bytes, 2, MSG_TRUNC | MSG_PEEK));
    struct iovec piece = {bytes, 3};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from};
    SHOW(recvmsg(a, &message, 0));
    printf("  flags %x, name %d\n", message.msg_flags, message.msg_namelen);
    SHOW(recv(a, bytes, 64, MSG_DONTWAIT));
    static char huge[70000];
    SHOW(sendto(b, huge, 65507, 0, (struct sockaddr *)&to, sizeof to));
    SHOW(sendto(b, huge, 65508, 0, (struct sockaddr *)&to, sizeof to));
    SHOW(recv(a, huge, sizeof huge, 0));
    puts("connected");
    SHOW(connect(b, (struct sockaddr *)&to, sizeof to));
    SHOW(getpeername(b, (struct sockaddr *)&from, &len));
    SHOW(send(b, "four", 4, 0));
    SHOW(read(a, bytes, 64));
    SHOW(write(b, "five", 4));
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    SHOW(connect(b, &none, sizeof none));
    SHOW(getpeername(b, (struct sockaddr *)&from, &len));
    SHOW(send(b, "x", 1, 0));
    SHOW(recv(a, bytes, 64, 0));
    puts("several");
    struct iovec pieces[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr many[3] = {0};
    for (int i = 0; i < 3; i++)
        many[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1, .msg_name = &to, .msg_namelen = sizeof to};
    SHOW(sendmmsg(b, many, 3, 0));
    char rooms[3][8];
    for (int i = 0; i < 3; i++) {
        pieces[i] = (struct iovec){rooms[i], 8};
        many[i].msg_hdr.msg_name = 0, many[i].msg_hdr.msg_namelen = 0;
    }
    SHOW(recvmmsg(a, many, 3, MSG_WAITFORONE, 0));
    printf("  %u %u %u\n", many[0].msg_len, many[1].msg_len, many[2].msg_len);
    puts("refused");
    int c = socket(AF_INET, SOCK_DGRAM, 0), closed = socket(AF_INET, SOCK_DGRAM, 0);
    bind_to(closed, 0);
    int port = port_of(closed);
    close(closed);
    SHOW(connect_to(c, port));
    SHOW(send(c, "x", 1, 0));
    printf("  poll: %x\n", await(c, POLLERR));
    SHOW(recv(c, bytes, 1, 0));
    return 0;
}
