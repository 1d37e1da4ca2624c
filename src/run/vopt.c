/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/vopt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/bytes.h"
#include "run/real.h"
#include "run/run.h"

#define VOPT_BYTES 16
/* Options that one connection remembers. */
#define VOPT_MAX 32

struct vopt {
	int level, name;
	uint8_t len;
	uint8_t value[VOPT_BYTES];
};

/* --- what is remembered --- */

static struct vopt *vopt_find(struct vconn *vc, int level, int name)
{
	for (uint8_t i = 0; i < vc->n_opts; i++) {
		if (vc->opts[i].level == level && vc->opts[i].name == name)
			return &vc->opts[i];
	}
	return NULL;
}

static int vopt_remember(struct vconn *vc, int level, int name,
			 const void *value, socklen_t len)
{
	struct vopt *o = vopt_find(vc, level, name), *opts;

	if (len > VOPT_BYTES)
		return 0; /* accepted; nobody asks for such ones */
	if (!o && vc->n_opts == VOPT_MAX)
		return -ENOBUFS;
	if (!o && vc->n_opts % 4 == 0) {
		opts = realloc(vc->opts, (vc->n_opts + 4u) * sizeof(*opts));
		if (!opts)
			return -ENOBUFS;
		vc->opts = opts;
	}
	if (!o)
		o = &vc->opts[vc->n_opts++];
	o->level = level;
	o->name = name;
	o->len = (uint8_t)len;
	if (len > 0)
		memcpy(o->value, value, len);
	return 0;
}

/* --- what means something --- */

static int vopt_timeout(int64_t *ret_ns, const void *value, socklen_t len)
{
	struct timeval tv;

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, value, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	*ret_ns = tv.tv_sec < 0
			  ? 0
			  : (int64_t)min_u64((uint64_t)tv.tv_sec, INT32_MAX) *
					    1000000000 +
				    tv.tv_usec * 1000;
	if (tv.tv_sec == 0 && tv.tv_usec == 0)
		*ret_ns = -1;
	return 0;
}

static int vopt_linger(struct vconn *vc, const void *value, socklen_t len)
{
	struct linger lg;

	if (len < sizeof(lg))
		return -EINVAL;
	memcpy(&lg, value, sizeof(lg));
	if (lg.l_onoff && lg.l_linger == 0)
		vc->flags |= STREAM_ABORT;
	else
		vc->flags &= (uint16_t)~STREAM_ABORT;
	return 0;
}

int vopt_set(struct vconn *vc, int level, int name, const void *value,
	     socklen_t len)
{
	int rc = 0;

	if (!vc->c)
		return -EBADF;
	if (!value && len > 0)
		return -EFAULT;
	if (level == SOL_SOCKET) {
		switch (name) {
		case SO_RCVTIMEO:
			rc = vopt_timeout(&vc->rcv_timeout_ns, value, len);
			break;
		case SO_SNDTIMEO:
			rc = vopt_timeout(&vc->snd_timeout_ns, value, len);
			break;
		case SO_LINGER:
			rc = vopt_linger(vc, value, len);
			break;
		case SO_ZEROCOPY: /* there is no error queue to tell it by */
		case SO_ATTACH_FILTER:
		case SO_ATTACH_BPF:
			return -EOPNOTSUPP;
		case SO_ERROR:
		case SO_TYPE:
		case SO_DOMAIN:
		case SO_PROTOCOL:
		case SO_ACCEPTCONN:
			return -ENOPROTOOPT;
		default:
			break;
		}
	}
	if (level == IPPROTO_TCP && name == TCP_ULP)
		return -ENOENT; /* kernel TLS: the program does it itself */
	return rc < 0 ? rc : vopt_remember(vc, level, name, value, len);
}

/* Copies a value out, cut to *len. */
static int vopt_put(const void *value, size_t n, void *ret_value,
		    socklen_t *len)
{
	n = min_size(n, *len);
	memcpy(ret_value, value, n);
	*len = (socklen_t)n;
	return 0;
}

/* SOL_SOCKET options whose value follows from what it is: 1 if it is one. */
static bool vopt_known(struct vconn *vc, int level, int name, int *ret_v)
{
	if (level != SOL_SOCKET)
		return false;
	switch (name) {
	case SO_ERROR:
		*ret_v = stream_error(vc);
		return true;
	case SO_TYPE:
		*ret_v = SOCK_STREAM;
		return true;
	case SO_DOMAIN:
		*ret_v = vc->domain;
		return true;
	case SO_PROTOCOL:
		*ret_v = IPPROTO_TCP;
		return true;
	case SO_ACCEPTCONN:
		*ret_v = 0;
		return true;
	default:
		return false;
	}
}

static int vopt_tcp_info(const struct vconn *vc, void *ret_value,
			 socklen_t *len)
{
	struct tcp_info info = {
		.tcpi_state = TCP_ESTABLISHED,
		.tcpi_snd_mss = 1460,
		.tcpi_rcv_mss = 1460,
		.tcpi_pmtu = 1500,
	};

	if (vc->c->flags & CONN_F_RESET)
		info.tcpi_state = TCP_CLOSE;
	else if (vc->c->flags & CONN_F_EOF)
		info.tcpi_state = vc->flags & STREAM_SHUT_WRITE
					  ? TCP_LAST_ACK
					  : TCP_CLOSE_WAIT;
	else if (vc->flags & STREAM_SHUT_WRITE)
		info.tcpi_state = TCP_FIN_WAIT2;
	return vopt_put(&info, sizeof(info), ret_value, len);
}

/* The value of a socket that nothing was ever said to. */
static int vopt_default(const struct vconn *vc, int level, int name,
			void *ret_value, socklen_t *len)
{
	int fd = REAL(socket)(vc->domain, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	rc = (int)run_result(REAL(getsockopt)(fd, level, name, ret_value, len));
	REAL(close)(fd);
	return rc;
}

int vopt_get(struct vconn *vc, int level, int name, void *ret_value,
	     socklen_t *len)
{
	const struct vopt *o;
	int v;

	if (!vc->c)
		return -EBADF;
	if (!ret_value || !len)
		return -EFAULT;
	if (vopt_known(vc, level, name, &v))
		return vopt_put(&v, sizeof(v), ret_value, len);
	if (level == IPPROTO_TCP && name == TCP_INFO)
		return vopt_tcp_info(vc, ret_value, len);
	o = vopt_find(vc, level, name);
	if (o)
		return vopt_put(o->value, o->len, ret_value, len);
	return vopt_default(vc, level, name, ret_value, len);
}
