"""What a step costs, side by side with what a user would pick instead and with the hardware's bound."""
