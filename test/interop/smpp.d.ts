/** As far as it is used here. */
declare module 'smpp' {
  interface Answer {
    readonly command_status: number
  }
  type Ask = (pdu: object, answered: (answer: Answer) => void) => void
  interface Session {
    readonly bind_transceiver: Ask
    readonly enquire_link: Ask
    readonly submit_sm: Ask
    close(): void
  }
  const smpp: { connect(options: { url: string }): Session }
  export default smpp
}
