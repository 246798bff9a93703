/** The suites, the programs and packages that each talks to, and where Debian has them. */

/** A program that has to be there. */
export interface Needed {
  readonly program: string
  /** What makes it print its version. */
  readonly version: readonly string[]
  /** The Debian packages that bring it. */
  readonly debian: readonly string[]
  /** Where it is, if it is not on the path; `*` is any version. */
  readonly folder?: string
  /** A file that has to be there too. */
  readonly file?: string
  /** Arguments with which it must succeed, if that is not certain. */
  readonly works?: readonly string[]
}

export interface Suite {
  readonly name: string
  readonly programs?: readonly Needed[]
  /** npm packages, of this folder or of another. */
  readonly packages?: readonly string[]
}

const openssl: Needed = { program: 'openssl', version: ['version'], debian: ['openssl'] }

export const suites: readonly Suite[] = [
  { name: 'openssl', programs: [openssl] },
  {
    name: 'haproxy',
    programs: [{ program: 'haproxy', version: ['-v'], debian: ['haproxy'] }],
  },
  {
    name: 'nginx',
    programs: [
      {
        program: 'nginx',
        version: ['-v'],
        debian: ['nginx', 'libnginx-mod-stream'],
        folder: '/usr/sbin',
        file: '/usr/lib/nginx/modules/ngx_stream_module.so',
      },
    ],
  },
  { name: 'socat', programs: [{ program: 'socat', version: ['-V'], debian: ['socat'] }, openssl] },
  { name: 'curl', programs: [{ program: 'curl', version: ['--version'], debian: ['curl'] }] },
  {
    name: 'chromium',
    programs: [{ program: 'chromium', version: ['--version'], debian: ['chromium'] }],
  },
  { name: 'koa-express', packages: ['koa', 'express'] },
  { name: 'koa-compose', packages: ['koa-compose'] },
  { name: 'json-rpc', packages: ['jayson', 'vscode-jsonrpc', '@open-rpc/schema-utils-js'] },
  { name: 'duplex-streams', packages: ['duplex-emitter', 'json-duplex-stream'] },
  { name: 'dns', programs: [{ program: 'dig', version: ['-v'], debian: ['bind9-dnsutils'] }] },
  {
    name: 'redis',
    programs: [{ program: 'redis-cli', version: ['--version'], debian: ['redis-tools'] }],
  },
  {
    name: 'psql',
    programs: [{ program: 'psql', version: ['--version'], debian: ['postgresql-client'] }],
  },
  {
    name: 'postgresql',
    programs: [
      {
        program: 'postgres',
        version: ['--version'],
        debian: ['postgresql'],
        folder: '/usr/lib/postgresql/*/bin',
      },
    ],
  },
  {
    name: 'mqtt',
    programs: [
      { program: 'mosquitto_pub', version: ['--version'], debian: ['mosquitto-clients'] },
      { program: 'mosquitto_sub', version: ['--version'], debian: ['mosquitto-clients'] },
    ],
    packages: ['aedes', 'mqtt'],
  },
  {
    name: 'smtp',
    programs: [
      { program: 'swaks', version: ['--version'], debian: ['swaks'] },
      // Without this module, swaks has no TLS.
      {
        program: 'perl',
        version: ['--version'],
        debian: ['perl', 'libnet-ssleay-perl'],
        works: ['-MNet::SSLeay', '-e', '1'],
      },
    ],
    packages: ['smtp-server'],
  },
  {
    name: 'ssh',
    programs: [{ program: 'ssh', version: ['-V'], debian: ['openssh-client'] }],
    packages: ['ssh2'],
  },
  {
    name: 'wires-debian',
    programs: [
      { program: 'memcached', version: ['--version'], debian: ['memcached'] },
      { program: 'escript', version: [], debian: ['erlang-base'] },
      { program: 'git', version: ['--version'], debian: ['git'] },
      { program: 'ldapsearch', version: ['-VV'], debian: ['ldap-utils'] },
      { program: 'curl', version: ['--version'], debian: ['curl'] },
      { program: 'zabbix_sender', version: ['--version'], debian: ['zabbix-sender'] },
      { program: 'mllp_send', version: ['--version'], debian: ['python3-hl7'] },
      { program: 'coap-client-notls', version: [], debian: ['libcoap3-bin'] },
    ],
    packages: ['ws'],
  },
  {
    name: 'wires',
    programs: [
      { program: 'redis-cli', version: ['--version'], debian: ['redis-tools'] },
      { program: 'redis-server', version: ['--version'], debian: ['redis-server'] },
      { program: 'dig', version: ['-v'], debian: ['bind9-dnsutils'] },
      { program: 'mosquitto_pub', version: ['--version'], debian: ['mosquitto-clients'] },
      { program: 'swaks', version: ['--version'], debian: ['swaks', 'libnet-ssleay-perl'] },
      { program: 'logger', version: ['--version'], debian: ['bsdutils'] },
      { program: 'psql', version: ['--version'], debian: ['postgresql-client'] },
      {
        program: 'nats-server',
        version: ['--version'],
        debian: ['nats-server'],
        folder: '/usr/sbin',
      },
    ],
    packages: [
      'dns-packet',
      'ioredis',
      'kafkajs',
      'memjs',
      'modbus-serial',
      'mqtt',
      'mysql2',
      'nats',
      'pg',
      'smpp',
      'stompit',
      'vscode-jsonrpc',
    ],
  },
  {
    name: 'examples',
    programs: [
      { program: 'redis-cli', version: ['--version'], debian: ['redis-tools'] },
      { program: 'psql', version: ['--version'], debian: ['postgresql-client'] },
      { program: 'swaks', version: ['--version'], debian: ['swaks', 'libnet-ssleay-perl'] },
      { program: 'mosquitto_pub', version: ['--version'], debian: ['mosquitto-clients'] },
    ],
    packages: ['ioredis', 'modbus-serial', 'mqtt', 'pg'],
  },
  {
    name: 'yamux-go',
    programs: [
      {
        program: 'go',
        version: ['version'],
        debian: ['golang-go', 'golang-github-hashicorp-yamux-dev'],
        file: '/usr/share/gocode/src/github.com/hashicorp/yamux/session.go',
      },
    ],
  },
  { name: 'yamux-libp2p', packages: ['@libp2p/yamux'] },
  {
    name: 'squid',
    programs: [{ program: 'squid', version: ['-v'], debian: ['squid'], folder: '/usr/sbin' }],
  },
  {
    name: 'microsocks',
    programs: [{ program: 'microsocks', version: [], debian: ['microsocks'] }],
  },
]
