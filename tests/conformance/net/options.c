// Options that programs set and ask for.
#include "net.h"

static void show(int fd, const char *text, int level, int name) {
    int value = 0;
    socklen_t len = sizeof value;
    int result = getsockopt(fd, level, name, &value, &len);
    if (result)
        printf("  %s: %s\n", text, error_name(errno));
    else
        printf("  %s: %d, length %d\n", text, value, len);
}

static void change(int fd, const char *text, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof value))
        printf("  setting %s: %s\n", text, error_name(errno));
    show(fd, text, level, name);
}

#define ASK(fd, level, name) show(fd, #name, level, name)
#define SET(fd, level, name, value) change(fd, #name, level, name, value)

int main(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    puts("stream");
    ASK(fd, SOL_SOCKET, SO_TYPE);
    ASK(fd, SOL_SOCKET, SO_DOMAIN);
    ASK(fd, SOL_SOCKET, SO_PROTOCOL);
    ASK(fd, SOL_SOCKET, SO_ERROR);
    ASK(fd, SOL_SOCKET, SO_ACCEPTCONN);
    SET(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    SET(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, SOL_SOCKET, SO_BROADCAST, 1);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 65536);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 65536);
    SET(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SET(fd, IPPROTO_TCP, TCP_CORK, 1);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    SET(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    SET(fd, IPPROTO_IP, IP_TOS, 16);
    ASK(fd, IPPROTO_IP, IP_TTL);
    ASK(fd, SOL_SOCKET, 9999);
    SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, "x", 1));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 0, 4) && errno == EFAULT);
    struct timeval time = {1, 500000}, none;
    socklen_t len = sizeof none;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, &len));
    printf("  %ld.%06ld\n", (long)none.tv_sec, (long)none.tv_usec);
    struct linger linger = {1, 7};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    linger.l_linger = 0, len = sizeof linger;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len));
    printf("  %d %d\n", linger.l_onoff, linger.l_linger);
    listen(fd, 1);
    ASK(fd, SOL_SOCKET, SO_ACCEPTCONN);
    struct tcp_info info;
    len = sizeof info;
    SHOW(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
    printf("  state %d\n", info.tcpi_state);
    len = 2;
    short half = 77;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &half, &len));
    printf("  %d, length %d\n", half, len);
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    SET(six, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    ASK(1, SOL_SOCKET, SO_TYPE);
    puts("datagram");
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    ASK(udp, SOL_SOCKET, SO_TYPE);
    ASK(udp, SOL_SOCKET, SO_PROTOCOL);
    SET(udp, IPPROTO_IP, IP_RECVERR, 1);
    SET(udp, SOL_SOCKET, SO_BROADCAST, 1);
    struct ip_mreq group = {.imr_multiaddr.s_addr = inet_addr("239.1.2.3"), .imr_interface.s_addr = htonl(INADDR_LOOPBACK)};
    SHOW(setsockopt(udp, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
    int on = 1;
    SHOW(ioctl(udp, FIONBIO, &on));
    printf("  flags %x\n", fcntl(udp, F_GETFL));
    return 0;
}
