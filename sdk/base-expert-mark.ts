/** Marks the class of experts, so that a host finds it whichever copy of the SDK a plugin carries. */
export const baseExpertMark = Symbol.for('nebula-experts.BaseExpert')
