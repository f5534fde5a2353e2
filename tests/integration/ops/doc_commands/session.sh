# Prelude of the sessions: what the documents take for granted. Each session is one shell in a directory of
# its own, with a sandbox in the place of GBG GO.
set -eu
export PATH="$PWD/bin:$PATH" HOME="$PWD" GBG_CLIENT_ID=sandbox-client GBG_CLIENT_SECRET=sandbox-secret
export GBG_PROXY_UPSTREAM_BASE_URL="$SANDBOX" GBG_PROXY_TOKEN_ENDPOINT="$SANDBOX/as/token.oauth2"
export GBG_PROXY_LISTEN_ADDRESS=127.0.0.1:0 GBG_PROXY_ADMIN_ADDRESS=127.0.0.1:0
running=

# The directories of a session are the user's own.
sudo() {
    "$@"
}

# Ends what `start` has started, which must exit with 0.
stop() {
    [ -z "$running" ] || { kill "$running"; wait "$running"; }
    running=
}
trap 'stop || exit' EXIT

# Runs a command that does not end in the background, until it listens. curl then finds it at the addresses of the documents.
start() {
    stop
    # The last one's lines must not be taken for those of the next.
    rm -f log.txt
    touch log.txt
    GBG_PROXY_ADMIN_ADDRESS=127.0.0.1:0 "$@" >> log.txt 2>&1 &
    running=$!
    until grep -q 'is listening' log.txt; do
        kill -0 "$running" || { cat log.txt; exit 1; }
        sleep 0.05
    done
    callers="$(sed -n 's/.*is listening.* address=\([^ ]*\).*/\1/p' log.txt)"
    GBG_PROXY_ADMIN_ADDRESS="$(sed -n 's/.*is listening.* admin=\([^ ]*\).*/\1/p' log.txt)"
    cat > .curlrc <<END
fail
silent
show-error
max-time = 20
cacert = "$PWD/etc/gbg-proxy/tls.crt"
connect-to = "127.0.0.1:8080:$callers"
connect-to = "127.0.0.1:8081:$GBG_PROXY_ADMIN_ADDRESS"
connect-to = "gbg.corp.example:8443:$callers"
END
}

# Runs a command without the addresses of this test, with an output like that of the documents.
plain() {
    env -u GBG_PROXY_UPSTREAM_BASE_URL -u GBG_PROXY_TOKEN_ENDPOINT -u GBG_PROXY_LISTEN_ADDRESS -u GBG_PROXY_ADMIN_ADDRESS "$@"
}

# Prints the SHA-256 of a caller's key: of the one that `key new` has created here, or any.
digest() {
    if [ -e "$1.toml" ]; then
        sed -n 's/^key_sha256 = //p' "$1.toml"
    else
        printf '"%s"' "$(printf %s "$1" | sha256sum | cut -d ' ' -f 1)"
    fi
}
