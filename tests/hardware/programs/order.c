/* order SOCKET LINE: gives a monitor an order and prints its answer. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 3) return 64;
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  int monitor = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(monitor, (struct sockaddr *)&address, sizeof address) != 0) return 1;
  dprintf(monitor, "%s\n", argv[2]);
  char answer[4096];
  ssize_t length = read(monitor, answer, sizeof answer);
  if (length <= 0) return 1;
  write(1, answer, length);
  return 0;
}
