/* Telling systemd how the service is (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET
 * names, a path or, with a leading '@', an abstract name. */
#pragma once

/* Sends e.g. "READY=1\nSTATUS=…". Returns 1 when sent, 0 when nobody listens (no NOTIFY_SOCKET), -1
 * with errno when it could not be sent. Never blocks. */
int notify_send(const char *state);
