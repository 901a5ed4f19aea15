/* Which addresses are of the open internet. Who fetches what strangers name asks this of the
 * address that is really connected to, so that no name, redirect or notation leads inside. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

/* False for everything that IANA's special-purpose registries (RFC 6890) keep from being global:
 * loopback, private, link-local, shared, multicast, documentation, reserved; in IPv6 all but
 * 2000::/3 and what carries a public IPv4 address (mapped, NAT64 64:ff9b::/96, 6to4); not Teredo;
 * false for other families. */
bool address_is_public(const struct sockaddr *a);
