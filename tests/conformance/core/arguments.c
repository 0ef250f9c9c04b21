// Arguments and environment lie one behind the other, as programs that write a title over them expect.
#include <stdio.h>
#include <string.h>

extern char **environ;

int main(int count, char **arguments) {
  char *end = arguments[0];
  int apart = 0;
  for (int at = 0; at < count; at++) {
    apart += arguments[at] != end;
    end = arguments[at] + strlen(arguments[at]) + 1;
  }
  printf("arguments apart: %d\n", apart);
  printf("environment follows: %d\n", environ[0] == end);
  for (int at = 0; environ[at]; at++) {
    apart += environ[at] != end;
    end = environ[at] + strlen(environ[at]) + 1;
  }
  printf("variables apart: %d\n", apart);
  memset(arguments[0], 'x', end - arguments[0] - 1);
  printf("all of it is one text: %d\n", strlen(arguments[0]) == end - arguments[0] - 1);
}
