/* One text on its way through the pool: whom it is asked of, and what becomes of each answer. */
#include "tts/remote/remote_internal.h"

#include "base/error.h"
#include "base/thread.h"
#include "tts/remote/body.h"

#include <errno.h>
#include <stdlib.h>

/* How often a text waits for servers that are busy, and by how many it is tried in vain. Servers that are free again
 * one shortly after the other are waited for once. */
#define BUSY_WAITS 3
#define SHORT_WAIT 0.1
#define TRIES 4

static const char *shown(const remote_engine *remote, size_t server) { return remote->addresses.list[server].shown; }

/* ---- Ends ---- */

/* Ends one request. Without `told` it said nothing about the server. */
static void end_try(remote_engine *remote, remote_try *attempt, bool told) {
    if (attempt->transfer.curl == NULL) {
        return;
    }
    tmb_transfer_stop(&attempt->transfer);
    if (!told) {
        tmb_remote_pool_abandoned(&remote->pool, attempt->server, tmb_now());
    }
    tmb_remote_pool_ended(&remote->pool, attempt->server);
}

void tmb_remote_sequence_end(remote_engine *remote, remote_sequence *sequence) {
    for (size_t i = 0; i < 2; i++) {
        end_try(remote, &sequence->tries[i], sequence->speaking);
    }
    free(sequence->body);
    *sequence = (remote_sequence){0};
    remote->live--;
}

static void fail(remote_engine *remote, remote_sequence *sequence, const tmb_event_sink *listener,
                 const tmb_error *error) {
    uint64_t id = sequence->id;
    tmb_error copy = *error;
    tmb_remote_sequence_end(remote, sequence);
    tmb_emit_failed(listener, id, &copy);
}

static void finish(remote_engine *remote, remote_sequence *sequence, const tmb_event_sink *listener,
                   const remote_try *attempt, tmb_finish_reason reason) {
    uint64_t id = sequence->id;
    tmb_remote_pool_works(&remote->pool, attempt->server);
    tmb_remote_sequence_end(remote, sequence);
    tmb_emit_finished(listener, id, reason);
}

static bool is_asking(const remote_sequence *sequence) {
    return sequence->tries[0].transfer.curl != NULL || sequence->tries[1].transfer.curl != NULL;
}

/* ---- Asking ---- */

static unsigned count_bits(uint64_t set) { return (unsigned)__builtin_popcountll(set); }

/* Makes a request of the server that was picked, and counts it as ended if it could not be made. */
static tmb_status ask(remote_engine *remote, remote_sequence *sequence, remote_try *attempt, size_t server,
                      tmb_error *error) {
    attempt->server = server;
    tmb_status status = tmb_transfer_post(&attempt->transfer, &remote->client, remote->addresses.list[server].endpoint,
                                          sequence->body, error);
    if (status != TMB_OK) {
        tmb_remote_pool_abandoned(&remote->pool, server, tmb_now());
        tmb_remote_pool_ended(&remote->pool, server);
    }
    return status;
}

/* Says of an error that it passes by itself. */
static tmb_status for_now(tmb_error *error) {
    error->system = EAGAIN;
    return error->status;
}

/* Nobody is left who could be asked. What no server has answered says nothing about the text: it may be asked again. */
static tmb_status give_up(const remote_engine *remote, remote_sequence *sequence, tmb_error *error) {
    if (sequence->failure.status != TMB_OK) {
        *error = sequence->failure;
        if (sequence->blamed != 0 || error->system != EAGAIN) {
            tmb_error_set_of_server(error);
        }
        return error->status;
    }
    (void)tmb_fail(error, TMB_ERROR_IO,
                   remote->addresses.count == 1
                       ? "the speech server %s has failed several times in a row and is left alone for a while"
                       : "the speech servers (%s and others) have failed several times in a row and are left alone "
                         "for a while",
                   shown(remote, 0));
    return for_now(error);
}

/* Asks whoever is next in turn, or says when to try again. */
static tmb_status ask_next(remote_engine *remote, remote_sequence *sequence, double now, tmb_error *error) {
    size_t server = 0;
    double at = now;
    if (count_bits(sequence->tried) >= TRIES) {
        return give_up(remote, sequence, error);
    }
    switch (tmb_remote_pool_pick(&remote->pool, now, sequence->tried, &server, &at)) {
    case TMB_REMOTE_NOW: return ask(remote, sequence, &sequence->tries[0], server, error);
    case TMB_REMOTE_FULL: sequence->again_at = now; return TMB_OK;
    case TMB_REMOTE_BUSY:
        if (sequence->refusals >= (BUSY_WAITS + 1) * remote->addresses.count ||
            (at - now > SHORT_WAIT && sequence->waits++ == BUSY_WAITS)) {
            if (sequence->failure.status == TMB_OK) {
                (void)tmb_fail(error, TMB_ERROR_LIMIT, "the speech servers are busy");
                return for_now(error);
            }
            return give_up(remote, sequence, error);
        }
        sequence->again_at = at;
        return TMB_OK;
    default: return give_up(remote, sequence, error);
    }
}

tmb_status tmb_remote_sequence_begin(remote_engine *remote, remote_sequence *sequence, tmb_error *error) {
    return ask_next(remote, sequence, tmb_now(), error);
}

/* After a request that came to nothing: the other one goes on, or another server is asked. */
static void try_another(remote_engine *remote, remote_sequence *sequence, double now, const tmb_event_sink *listener) {
    tmb_error error;
    if (!is_asking(sequence) && ask_next(remote, sequence, now, &error) != TMB_OK) {
        fail(remote, sequence, listener, &error);
    }
}

/* The first server is slow: a second one is asked as well, and the first audio decides. */
static void hedge(remote_engine *remote, remote_sequence *sequence, double now) {
    const remote_try *first = &sequence->tries[0];
    size_t server = 0;
    tmb_error error;
    if (remote->hedge_seconds <= 0 || sequence->speaking || first->transfer.curl == NULL ||
        sequence->tries[1].transfer.curl != NULL || now - first->transfer.began < remote->hedge_seconds) {
        return;
    }
    uint64_t tried = sequence->tried | UINT64_C(1) << first->server;
    if (tmb_remote_pool_pick_second(&remote->pool, now, tried, &server) &&
        ask(remote, sequence, &sequence->tries[1], server, &error) == TMB_OK) {
        tmb_log(remote->logger, TMB_LOG_INFO, "%s is slow: %s is asked too", shown(remote, first->server),
                shown(remote, server));
    }
}

/* ---- Answers ---- */

/* This request failed, with the reason in sequence->failure: the server's fault, or (an error that it answered with)
 * the text's, if another server fails on it too. */
static void failed(remote_engine *remote, remote_sequence *sequence, remote_try *attempt, bool answered, double now,
                   const tmb_event_sink *listener) {
    size_t server = attempt->server;
    bool over = sequence->speaking;
    sequence->tried |= UINT64_C(1) << server;
    if (answered && sequence->blamed != 0 && sequence->blamed != server + 1) {
        tmb_remote_pool_forgive(&remote->pool, sequence->blamed - 1);
        tmb_remote_pool_abandoned(&remote->pool, server, now);
    } else {
        tmb_remote_pool_failed(&remote->pool, server, now);
        sequence->blamed = answered ? server + 1 : sequence->blamed;
    }
    tmb_log(remote->logger, TMB_LOG_INFO, "%s: %s", shown(remote, server), sequence->failure.message);
    end_try(remote, attempt, true);
    if (over) {
        tmb_error error = sequence->failure;
        tmb_error_set_of_server(&error);
        fail(remote, sequence, listener, &error);
    } else {
        try_another(remote, sequence, now, listener);
    }
}

/* What a status code means for the text. */
static tmb_status status_of(long code) {
    switch (code) {
    case 400:
    case 401:
    case 403:
    case 404:
    case 413:
    case 422: return TMB_ERROR_ARGUMENT;
    case 429:
    case 503: return TMB_ERROR_LIMIT;
    default: return TMB_ERROR_IO;
    }
}

/* An answer that every server would give to this text. */
static bool is_final(long code) { return code == 400 || code == 413 || code == 422; }

static void refused(remote_engine *remote, remote_sequence *sequence, remote_try *attempt, long code, double now,
                    const tmb_event_sink *listener) {
    char complaint[240];
    tmb_remote_complaint(attempt->transfer.bytes, attempt->transfer.kept, complaint, sizeof complaint);
    (void)tmb_fail(&sequence->failure, status_of(code), "the speech server answers HTTP %ld: %s%s", code, complaint,
                   code != 401 && code != 403   ? ""
                   : remote->client.key == NULL ? " (no key is set)"
                                                : " (is the key right?)");
    if (is_final(code)) {
        tmb_remote_pool_works(&remote->pool, attempt->server);
        tmb_error error = sequence->failure;
        fail(remote, sequence, listener, &error);
    } else if (code == 429 || code == 503) {
        double wait = tmb_transfer_retry_after(&attempt->transfer);
        (void)for_now(&sequence->failure);
        sequence->refusals++;
        tmb_remote_pool_is_busy(&remote->pool, attempt->server, now, wait);
        tmb_log(remote->logger, TMB_LOG_INFO, "%s is busy (HTTP %ld)", shown(remote, attempt->server), code);
        end_try(remote, attempt, true);
        try_another(remote, sequence, now, listener);
    } else {
        /* A wrong key or path is this server's own trouble: no text would do better there. */
        failed(remote, sequence, attempt, code >= 500, now, listener);
    }
}

/* The server never had the request, and may have the next one. A certificate that is not trusted does not mend itself.
 */
static bool was_not_sent(CURLcode result) {
    switch (result) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: /* connecting is all that has a limit */
    case CURLE_SSL_CONNECT_ERROR: return true;
    default: return false;
    }
}

static void settle(remote_engine *remote, remote_sequence *sequence, remote_try *attempt, double now,
                   const tmb_event_sink *listener) {
    tmb_transfer *transfer = &attempt->transfer;
    long code = tmb_transfer_code(transfer);
    if (transfer->result == CURLE_OUT_OF_MEMORY) {
        tmb_error error;
        (void)tmb_fail_memory(&error, "an answer of the speech server", 0);
        fail(remote, sequence, listener, &error);
    } else if (transfer->result != CURLE_OK) {
        (void)tmb_fail(&sequence->failure, TMB_ERROR_IO, "%s: %s", shown(remote, attempt->server),
                       transfer->message[0] != '\0' ? transfer->message
                                                    : remote->client.library->easy_strerror(transfer->result));
        if (was_not_sent(transfer->result)) {
            (void)for_now(&sequence->failure);
        }
        failed(remote, sequence, attempt, false, now, listener);
    } else if (code != 200) {
        refused(remote, sequence, attempt, code, now, listener);
    } else if (sequence->length.spoken == 0) {
        (void)tmb_fail(&sequence->failure, TMB_ERROR_FORMAT, "the speech server answers with no audio");
        failed(remote, sequence, attempt, true, now, listener);
    } else {
        finish(remote, sequence, listener, attempt, TMB_FINISH_STOP);
    }
}

/* The first audio: from here on no other server is asked. */
static void begin_to_speak(remote_engine *remote, remote_sequence *sequence, remote_try *attempt) {
    tmb_remote_pool_speaks(&remote->pool, attempt->server);
    for (size_t i = 0; i < 2; i++) {
        if (&sequence->tries[i] != attempt) {
            end_try(remote, &sequence->tries[i], false);
        }
    }
    sequence->speaking = true;
}

/* Forwards the audio that is kept; returns false if that ended the sequence. */
static bool hand_on(remote_engine *remote, remote_sequence *sequence, remote_try *attempt,
                    const tmb_event_sink *listener) {
    tmb_transfer *transfer = &attempt->transfer;
    float samples[TMB_REMOTE_KEEP / 2];
    bool all = tmb_emit_pcm(listener, sequence->id, &sequence->length, (const unsigned char *)transfer->bytes,
                            transfer->kept / 2, samples);
    if (transfer->kept % 2 != 0) {
        transfer->bytes[0] = transfer->bytes[transfer->kept - 1];
    }
    transfer->kept %= 2;
    if (!all) {
        finish(remote, sequence, listener, attempt, TMB_FINISH_LENGTH);
    }
    return all;
}

/* What one request has come to; false if the sequence ended, or this request did. */
static bool look(remote_engine *remote, remote_sequence *sequence, remote_try *attempt, double now,
                 const tmb_event_sink *listener) {
    tmb_transfer *transfer = &attempt->transfer;
    if (transfer->kept > 1 && tmb_transfer_code(transfer) == 200) {
        if (tmb_transfer_check_audio(transfer, &sequence->failure) != TMB_OK) {
            failed(remote, sequence, attempt, true, now, listener);
            return false;
        }
        if (!sequence->speaking) {
            begin_to_speak(remote, sequence, attempt);
        }
        if (!hand_on(remote, sequence, attempt, listener)) {
            return false;
        }
        tmb_transfer_go_on(transfer);
    }
    if (transfer->done) {
        settle(remote, sequence, attempt, now, listener);
        return false;
    }
    if (now - transfer->heard > remote->stall_seconds) {
        (void)tmb_fail(&sequence->failure, TMB_ERROR_TIMEOUT, "the speech server sent nothing for %g s",
                       remote->stall_seconds);
        failed(remote, sequence, attempt, false, now, listener);
        return false;
    }
    return true;
}

void tmb_remote_sequence_advance(remote_engine *remote, remote_sequence *sequence, double now,
                                 const tmb_event_sink *listener) {
    if (!is_asking(sequence)) {
        if (now >= sequence->again_at) {
            try_another(remote, sequence, now, listener);
        }
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        if (sequence->tries[i].transfer.curl != NULL && !look(remote, sequence, &sequence->tries[i], now, listener)) {
            return;
        }
    }
    hedge(remote, sequence, now);
}

void tmb_remote_sequence_heard(remote_sequence *sequence, double now) {
    for (size_t i = 0; i < 2; i++) {
        sequence->tries[i].transfer.heard = now;
    }
}
